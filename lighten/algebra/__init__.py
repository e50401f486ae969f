"""Bilinear algorithms, exact: products of sums in place of sums of products.

    bilinear        y = W[(U a) ⊙ (V b)] in fractions, and the proof of what it computes
    cook_toom       the generator: polynomial products from points; Karatsuba and Toom
    points          which points round least
    winograd        F(m, r): correlation with m + r − 1 products instead of m · r, on N axes
    strassen        products of matrices from seven products of their quarters
    straight_line   the transforms as few additions and fused multiply-adds

Nothing here rounds except where a float type is asked for by name.
"""
