"""Running a Program on this machine: plan it, compile it, call it.

plan        which kernel makes each value, written where its inputs lie; `steps` is what comes out
writer      the hand that writes: places of values, calls of kernels. `writers` (images in blocks),
            `writers_images`, `_rows`, `_moves`, `_volumes`: a function per kind
heads       attention found in the several ops that spell it
choose      which kernel computes each convolution: the least predicted time
codes       quantized programs: casts around what has no kernel of codes; `writers_codes`
pairs       what the engine's kernels join: residuals, activations
rounded     values beside themselves in pairs of bfloat16, where that was asked for
memory      an arena in which values that never live together share bytes
executable  the whole as one native call; ops that no kernel runs go to the reference interpreter
sizes       the same for inputs of other sizes, made when they come, those used last kept
kept        a compiled network on disk, run again without planning; `arena`: what that takes

Nothing is imported here: what runs a kept network needs neither plan nor kernels.
"""
