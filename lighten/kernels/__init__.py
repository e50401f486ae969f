"""Kernels: what a convolution, a pool, an addition is in machine instructions. One file each.

layout     how a tensor's numbers lie: blocks of channels, with zeros around the image
shapes     what a sliding op asks for          costs      how long a block takes, roughly
functions  functions of one number             finish     what is done to a sum before it is stored
direct · winograd · depthwise                  the convolutions, behind one set of functions:
           accepts, schedules, halo, workspace, cycles, pack, emit
pool · pointwise · moves                       the rest
"""
