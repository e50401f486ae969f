"""Running a Program on this machine: plan it, compile it, call it.

plan        which kernel makes each value, and where it lies; `writers`, `writers_images`,
            `writers_volumes`: one function per kind
choose      which kernel computes each convolution: the least predicted time
pairs       what the engine's kernels join: residuals, activations
rounded     values beside themselves in pairs of bfloat16, where that was asked for
memory      an arena in which values that never live together share bytes
executable  the whole as one native call; ops that no kernel runs go to the reference interpreter
kept        a compiled network on disk, run again without planning; `arena`: what that takes

Nothing is imported here: what runs a kept network needs neither plan nor kernels.
"""
