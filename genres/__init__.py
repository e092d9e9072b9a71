"""The music-genre project's modules, from the ground up: common, audio and spectrogram first, songs and plots last."""
