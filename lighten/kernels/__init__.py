"""Kernels: what a convolution, a pool, an addition is in machine instructions. One file each.

layout     how a tensor's numbers lie: blocks of channels, with zeros around the image
shapes     what a sliding op asks for          costs      how long a block takes, roughly
functions  functions of one number             finish     what is done to a sum before it is stored
direct · indirect · winograd · winograd_line · strassen · fft · depthwise · permuted · grouped ·
split      the convolutions, behind one set of functions:
           accepts, schedules, halo, workspace, cycles, pack, emit
fourier · spectrum · fft_tile · products · quarters   what fft, winograd and strassen are made of
transposed                                     a transposed convolution as one of these
pool · pointwise · moves · spatial · resize · group_norm                 other ops on images
direct_codes · depthwise_codes · grouped_codes · linear_codes   the same over codes, unsigned bytes
requantize how their sums end · combine: sums and means of codes · encode: floats to codes and back
volumes · im2col · volume_pool                 planar values of any number of axes
"""
