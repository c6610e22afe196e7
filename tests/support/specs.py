"""Specs of small logs."""

from weft.data.spec import ActionSpec, ObservationSpec, Spec

VECTOR = Spec((ObservationSpec((3,)),), ActionSpec("continuous", (2,)))
