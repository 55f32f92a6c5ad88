"""TensorFlow 1.x checkpoints of the seed work, without TensorFlow."""

from privadv.import_tf.importing import Imported, ImportedModel, import_checkpoints

__all__ = ["Imported", "ImportedModel", "import_checkpoints"]
