"""Models: networks with a memory, and those without that they are compared with."""

from __future__ import annotations

from hardmem.models.attention import ATTENTIONS, Attention, make_attention
from hardmem.models.controllers import CONTROLLERS, Controller, make_controller
from hardmem.models.encoder_decoder import EncoderDecoder
from hardmem.models.memory_network import Facts, MemoryNetwork, as_questions
from hardmem.models.ntm import NTM, NTMState
from hardmem.models.recurrent import Recurrent
from hardmem.models.rollout import Rollout

__all__ = ["ATTENTIONS", "CONTROLLERS", "NTM", "Attention", "Controller", "EncoderDecoder", "Facts", "MemoryNetwork"]
__all__ += ["NTMState", "Recurrent", "Rollout", "as_questions", "make_attention", "make_controller"]
