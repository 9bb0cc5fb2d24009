"""The former name of the reader of sounds, which other programs import."""

from data.sound import read_sound as read_wav

__all__ = ["read_wav"]
