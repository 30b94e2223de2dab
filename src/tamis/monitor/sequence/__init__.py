"""Recurrent monitors: LSTM and xLSTM autoencoders of the steps of a stream, and a student of them."""

__all__: list[str] = []
