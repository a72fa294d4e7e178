"""The Open Inference Protocol, version 2, which KServe and Triton speak: vector models' graphs and their tensors.

What a graph gives for a tensor is not judged: `Sender` alone finds images that a model does not know.
"""
