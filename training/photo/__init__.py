"""The codec for photographs of any size: pictures -> a trained network -> graphs with an integer entropy part.

pictures     the folder of photographs, in memory, split by picture
crops        a step's number -> its batch, always the same one
model        encoder, shallow decoder, hyperprior, context, gains for all rates
klt          the weights that training starts from
optimisation rates, Muon, averaged weights
trainer      the flat phase that never ends, and the cooldown that can start from any of its checkpoints
"""
