"""Every way to perturb samples: along a gradient, by noise, by corruption, by queries alone."""
