"""How large everything is: on a GPU the published models, on the emulated one (a processor that
plays it, some ten thousand times slower) models of a few thousand weights, so that every line of
this check runs where there is no GPU."""

GRAPHS = ["phi3", "tinyllama", "gemma", "gemma2"]


class Scale:
    full_models = True
    graphs = GRAPHS
    formats = ["bf16", "nf4", "int8"]  # the order they are measured in
    peak_formats = ["bf16", "nf4"]
    prompt, new, depth, repetitions = 2048, 64, 4096, 3
    probe = "1GiB"
    chat_tokens = 256  # of an answer; the report whose table is repeated had some 300 in all
    limited = ("gemma2", 24_000_000_000, 8128)  # graph, bytes, depth
    planner_turns = ["20", "32", "32"]  # turns, tokens of a prompt, new tokens
    planners = ["static", "exact", "grow", "elastic", "paged"]
    stripes = [16, 64, 256, 1024]
    transfer = ["1GiB", "20"]
    conformance = "*Conformance*cuda*-*_emulated"
    engine = "*"
    sanitized = ("*Conformance*linear_cuda_mma:*Conformance*linear_cuda_vector:"
                 "*Conformance*rms_norm_cuda*:*Conformance*sample_cuda*:"
                 "*Conformance*attention_cuda_split*")
    # Processes of conformance tests: their references are computed on the host, and a kernel that
    # faults takes the rest of its process with it.
    shards = 10


class EmulatedScale(Scale):
    full_models = False
    peak_formats = ["bf16"]
    prompt, new, depth, repetitions = 10, 2, 16, 1
    probe = "64KiB"
    chat_tokens = 2
    limited = ("gemma2", 64 << 20, 8)
    planner_turns = ["2", "3", "2"]
    planners = ["static", "elastic"]
    stripes = [16]
    transfer = ["1MiB", "2"]
    conformance = "*/add_add_cuda*_emulated"
    engine = "Gpu.TooLittleMemoryIsRefused:Gpu.AGpuThatIsNotThereIsRefused"
    sanitized = conformance
    shards = 1
