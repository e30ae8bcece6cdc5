"""holdfast_chaos: breaks a real cluster on purpose and judges it; comes with step 4."""
