"""Trainings of both frameworks side by side: step by step, from one state in float32, and many seeds of each."""
