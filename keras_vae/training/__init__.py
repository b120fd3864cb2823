"""How the steps of fit, evaluate and predict run: what is chosen, compiled, kept and watched."""
