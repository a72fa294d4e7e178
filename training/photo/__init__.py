"""The codec for photographs of any size: pictures -> a trained network -> graphs with an integer entropy part.

    pictures      the folder of photographs, in memory, split by picture
    crops         a step's number -> its batch, always the same one
    gathered      the same on a device that is too fast for that
    model         encoder, shallow decoder, hyperprior, context, gains for all rates
    rounding      roundings and bounds that let weights learn
    eight_bits    encoder and decoder through weights and activations of 8 bits
    shrink        the weights of a smaller network, from those of a larger one
    klt           the weights that training starts from
    optimisation  rates, Muon, averaged weights
    trainer       the flat phase that never ends, and the cooldown that can start from any of its checkpoints
    measure       what training looks at: costs of the validation pictures
    integers      hyper decoder and context as networks of integers
    tables        distributions as integer frequencies
    evaluate      bits by those tables and errors of whole pictures, beside JPEG and WebP
    bd_rate       two curves -> one percentage
    neighbours    a rule that corrects tables without a network
    tiles         pictures of any size in bounded memory
    refiner       the decoder's gradient, by which a sender improves symbols
    export        the four graphs, and the proof that the integer one is exact
    onnx_nodes, eight_bit_graph, entropy_graph    nodes of a graph, and the graphs made of them
    published     encoder and decoder of a published model, where its checkpoint is lost
    origin        where a model comes from, for its card

`python -m training.photo --help` has the commands.
"""
