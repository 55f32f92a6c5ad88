"""The seed work's networks with TensorFlow's semantics.

One rule names their parameters: a TensorFlow variable ``scope/Conv2d_0/BatchNorm/beta`` is ``Conv2d_0.BatchNorm.beta`` here.
"""
