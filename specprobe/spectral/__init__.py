"""Spatial frequencies of images: pure functions over arrays, which know neither models nor ONNX.

Maps and masks have shape (H, W) and are centred (fftshifted): frequency ``(f_y, f_x)``, in cycles per image, lies at
``[f_y + H // 2, f_x + W // 2]``. Spectra of real images are kept as half planes of shape (H, W // 2 + 1), as
``rfftn`` returns them: rows in FFT order, ``f_x >= 0`` only. Every FFT is unitary (``norm="ortho"``).
"""
