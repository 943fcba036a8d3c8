"""How good a colorizer is: photographs with true colour in, metrics with confidence intervals out.

Every photograph is measured for every colorizer, trained or trivial, at one size. Metrics of
pictures take the rendered ones: true luminance joined with predicted colour by `colornet.rendering.lab_to_srgb`, in
8-bit sRGB, as the archive job writes them.
"""
