"""Where attention happens in a denoiser.

``attention`` finds the sites, ``around`` what stands around them, ``sizes`` tells how large what they
return is.
"""
