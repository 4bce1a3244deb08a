"""Where attention happens in a denoiser.

``attention`` finds the sites, ``around`` what stands around them, ``outputs`` tells how large what they
return is.
"""
