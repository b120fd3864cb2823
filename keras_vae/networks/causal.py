"""Networks over a grid whose features at a place see the places before it, in the order in which one reads."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_vae.arguments import whole_number
from keras_vae.serializable import Serializable


class CausalGrid(Serializable, keras.layers.Layer):
    """Gated convolutions whose features at a place are functions of the places above it and to its left in its row.

    Two stacks: the vertical one sees the rows above, the horizontal one its own row and what the vertical one gives at
    its place, so that there is no blind spot. Shifted inputs and one-sided padding leave nothing to be masked. Each
    block is h <- h + W (tanh(a) sigmoid(b)), a and b from a convolution.

    Called with `inputs`, shape (batch, rows, columns, filters), and, where it was built for one, `context`, shape
    (batch, rows, columns, size) or (batch, size), which all places see; returns features of the inputs' shape. `walk`
    gives the same features place by place, where the inputs are only known after it; convolutions, keys and values are
    computed once.

    With attention heads, each place then also looks at the features of all places before it and of itself, each beside
    the input of the place before it and its row and column, from -1 to 1.

    Args:
        filters: channels of the inputs and of all layers.
        blocks: number of blocks.
        kernel_size: odd; a block sees (kernel_size - 1) / 2 places farther up, left and right than the one before it.
        attention_heads: 0 or more, of filters / attention_heads channels each.
        **kwargs: `name`, `trainable` and `dtype` of a Keras layer.

    Raises:
        ValueError: for a kernel size that is even, and for heads that filters can not be shared between.

    Reference: van den Oord et al. 2016, arXiv:1606.05328; place by place: Ramachandran et al. 2017, arXiv:1704.06001;
    attention: Chen et al. 2018, arXiv:1712.09763 (PixelSNAIL).
    """

    def __init__(self, filters: int = 64, blocks: int = 5, kernel_size: int = 5, attention_heads: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.filters = whole_number(self, "filters", filters)
        self.blocks = whole_number(self, "blocks", blocks)
        self.kernel_size = whole_number(self, "kernel_size", kernel_size)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"{type(self).__name__} needs an odd kernel_size. Received: {kernel_size}.")
        self.attention_heads = whole_number(self, "attention_heads", attention_heads, least=0)
        if self.attention_heads and self.filters % self.attention_heads:
            raise ValueError(
                f"{type(self).__name__} needs filters that attention_heads divide. "
                f"Received: filters={filters}, attention_heads={attention_heads}."
            )

    @property
    def reach(self) -> int:
        """Rows of a kernel: its own and those above."""
        return (self.kernel_size + 1) // 2

    def build(self, inputs_shape, context_shape=None):
        """Creates the weights for inputs of shape (batch, rows, columns, filters)."""
        width = 2 * self.filters
        options = {"dtype": self.dtype_policy}
        self.vertical, self.down, self.horizontal, self.out, self.given = [], [], [], [], []
        features = (None, None, None, self.filters)
        for block in range(self.blocks):
            self.vertical.append(keras.layers.Conv2D(width, (self.reach, self.kernel_size), **options))
            self.horizontal.append(keras.layers.Conv2D(width, (1, self.reach), **options))
            self.down.append(keras.layers.Dense(width, use_bias=False, **options))
            self.out.append(keras.layers.Dense(self.filters, **options))
            for layer in (self.vertical[-1], self.horizontal[-1], self.out[-1]):
                layer.build(features)
            self.down[-1].build((*features[:-1], width))
            if context_shape is not None:
                both = width if self._is_last(block) else 2 * width
                self.given.append(keras.layers.Dense(both, use_bias=False, **options))
                self.given[-1].build((None, context_shape[-1]))
        if self.attention_heads:
            self.query, self.keys_and_values, self.attended = (
                keras.layers.Dense(units, **options) for units in (self.filters, width, self.filters)
            )
            for layer, size in (
                (self.query, width + 2),
                (self.keys_and_values, width + 2),
                (self.attended, self.filters),
            ):
                layer.build((None, None, size))

    def call(self, inputs, context=None):
        above, left = tf.pad(inputs, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1], _shifted(inputs)
        for block in range(self.blocks):
            of_left, of_above = self._context(block, context)
            columns = self.kernel_size // 2
            wide = tf.pad(above, [[0, 0], [self.reach - 1, 0], [columns, columns], [0, 0]])
            seen = self.vertical[block](wide)
            long = tf.pad(left, [[0, 0], [0, 0], [self.reach - 1, 0], [0, 0]])
            left += self.out[block](_gated(self.horizontal[block](long) + self.down[block](seen) + of_left))
            if not self._is_last(block):
                above += _gated(seen + of_above)
        if not self.attention_heads:
            return left
        count = left.shape[1] * left.shape[2]
        features, before = (tf.reshape(each, [-1, count, self.filters]) for each in (left, inputs))
        before = tf.pad(before, [[0, 0], [1, 0], [0, 0]])[:, :-1]
        seen = _seen(features, before, _coordinates(*left.shape[1:3], left.dtype))
        places = tf.range(count)
        found = self._attention(seen, self._keys_and_values(seen), places <= places[:, None])
        return left + tf.reshape(found, tf.shape(left))

    def _by_head(self, features: tf.Tensor) -> tf.Tensor:
        """From (batch, places, filters) to (batch, heads, places, filters of a head)."""
        split = tf.reshape(
            features, [-1, features.shape[1], self.attention_heads, self.filters // self.attention_heads]
        )
        return tf.transpose(split, [0, 2, 1, 3])

    def _keys_and_values(self, seen: tf.Tensor) -> list[tf.Tensor]:
        """Of places, by head."""
        return [self._by_head(part) for part in tf.split(self.keys_and_values(seen), 2, axis=-1)]

    def _attention(self, seen: tf.Tensor, memories: Sequence[tf.Tensor], allowed: tf.Tensor) -> tf.Tensor:
        """What places find at others, shape (batch, places, filters).

        Args:
            seen: of the places, shape (batch, places, 2 filters + 2).
            memories: keys and values of the others, by head.
            allowed: which of the others each place looks at, shape (places, others).
        """
        keys, values = memories
        query = self._by_head(self.query(seen)) * (self.filters // self.attention_heads) ** -0.5
        scores = tf.cast(tf.matmul(query, keys, transpose_b=True), tf.float32)  # [batch, heads, places, others]
        weights = tf.nn.softmax(tf.where(allowed, scores, -float("inf")))
        found = tf.transpose(tf.matmul(tf.cast(weights, values.dtype), values), [0, 2, 1, 3])
        return self.attended(tf.reshape(found, [-1, found.shape[1], self.filters]))

    def _attended(self, features, before, coordinates, step, memories):
        """As the attention of `call`, at place `step`: features, shape (number, filters), and the new memories."""
        now = _seen(features, before, coordinates)[:, None]
        places = tf.range(memories[0].shape[2])
        pairs = zip(self._keys_and_values(now), memories, strict=True)
        memories = [tf.ensure_shape(tf.where((places == step)[:, None], new, old), old.shape) for new, old in pairs]
        return features + self._attention(now, memories, (places <= step)[None])[:, 0], memories

    def _is_last(self, block: int) -> bool:
        """Nothing reads the vertical features of that block."""
        return block == self.blocks - 1

    def _context(self, block: int, context):
        """What a context adds to the horizontal stack of a block, and to the vertical one.

        Each is of shape (batch, rows or 1, columns or 1, channels), or 0; of the last block the second is None.
        """
        if context is None:
            return 0.0, 0.0
        added = self.given[block](context[:, None, None] if len(context.shape) == 2 else context)
        return (added, None) if self._is_last(block) else tf.split(added, 2, axis=-1)

    def walk(self, size: tuple[int, int], choose, number, context=None):
        """Goes through the places of a grid, in the order in which one reads, and chooses what stands there.

        Args:
            size: (rows, columns).
            choose: from the features of a place, shape (number, filters), and its number to what stands there, shape
                (number, channels), and to the input that it is, shape (number, filters).
            number: of grids, an integer or an integer scalar tensor.
            context: as for `call`, of so many.

        Returns:
            What was chosen, shape (number, rows, columns, channels).
        """
        rows, columns = size
        contexts = [self._context(block, context) for block in range(self.blocks)]
        where = _coordinates(rows, columns, self.compute_dtype)

        def walk_row(row, before, windows, memories, lines):
            above, seen, new_windows = before, [], []
            for block in range(self.blocks):
                window = tf.concat([windows[block], above[:, None]], axis=1)  # [number, reach, columns, filters]
                new_windows.append(window[:, 1:])
                margin = self.kernel_size // 2
                found = self.vertical[block](tf.pad(window, [[0, 0], [0, 0], [margin, margin], [0, 0]]))
                of_left, of_above = contexts[block]
                seen.append(self.down[block](found)[:, 0] + _row(of_left, row))
                if not self._is_last(block):
                    above += _gated(found + _row(of_above, row, keep=True))[:, 0]

            def walk_place(column, start, windows, memories, chosen, inputs):
                left, new_windows, step = start, [], row * columns + column
                for block in range(self.blocks):
                    window = tf.concat([windows[block], left[:, None]], axis=1)  # [number, reach, filters]
                    new_windows.append(window[:, 1:])
                    found = self.horizontal[block](window[:, None])[:, 0, 0] + tf.gather(seen[block], column, axis=1)
                    left += self.out[block](_gated(found))
                if memories:
                    last = tf.where(column == 0, before[:, -1], start)
                    left, memories = self._attended(left, last, where[step], step, memories)
                values, following = choose(left, step)
                following = tf.ensure_shape(following, start.shape)
                written = chosen.write(column, values), inputs.write(column, following)
                return column + 1, following, new_windows, memories, *written

            start = tf.zeros([number, self.filters], before.dtype)
            empty = [tf.zeros([number, self.reach - 1, self.filters], before.dtype) for _ in range(self.blocks)]
            arrays = [tf.TensorArray(dtype, columns) for dtype in (tf.float32, before.dtype)]
            _, _, _, memories, chosen, inputs = tf.while_loop(
                lambda column, *_: column < columns, walk_place, [tf.constant(0), start, empty, memories, *arrays]
            )
            line = tf.transpose(chosen.stack(), [1, 0, 2])  # [number, columns, channels]
            following = tf.ensure_shape(tf.transpose(inputs.stack(), [1, 0, 2]), before.shape)
            return row + 1, following, new_windows, memories, lines.write(row, line)

        start = tf.zeros([number, columns, self.filters], self.compute_dtype)
        empty = [tf.zeros([number, self.reach - 1, columns, self.filters], self.compute_dtype)] * self.blocks
        of_head = self.filters // max(self.attention_heads, 1)
        memory = tf.zeros([number, self.attention_heads, rows * columns, of_head], self.compute_dtype)
        memories, lines = [memory] * 2 if self.attention_heads else [], tf.TensorArray(tf.float32, rows)
        _, _, _, _, lines = tf.while_loop(
            lambda row, *_: row < rows, walk_row, [tf.constant(0), start, empty, memories, lines]
        )
        return tf.transpose(lines.stack(), [1, 0, 2, 3])

    def compute_output_shape(self, inputs_shape, context_shape=None) -> tuple:
        """That of the inputs."""
        return tuple(inputs_shape)


def _coordinates(rows: int, columns: int, dtype) -> tf.Tensor:
    """Row and column of each place, from -1 to 1, shape (places, 2)."""
    both = tf.meshgrid(tf.linspace(-1.0, 1.0, rows), tf.linspace(-1.0, 1.0, columns), indexing="ij")
    return tf.cast(tf.reshape(tf.stack(both, axis=-1), [-1, 2]), dtype)


def _seen(features, before, coordinates) -> tf.Tensor:
    """What attention sees of places, shape (..., 2 filters + 2): features, the input before them, and where."""
    coordinates += tf.zeros_like(features[..., :2])
    return tf.concat([features, before, coordinates], axis=-1)


def _shifted(inputs: tf.Tensor) -> tf.Tensor:
    """Each place has what stands to its left."""
    return tf.pad(inputs, [[0, 0], [0, 0], [1, 0], [0, 0]])[:, :, :-1]


def _gated(features: tf.Tensor) -> tf.Tensor:
    first, second = tf.split(features, 2, axis=-1)
    return tf.tanh(first) * tf.sigmoid(second)


def _row(context, row, keep: bool = False):
    """The row of a context, which may have one for all; shape (batch, columns or 1, channels)."""
    if isinstance(context, float):
        return context
    found = context if context.shape[1] == 1 else context[:, row : row + 1]
    return found if keep else found[:, 0]
