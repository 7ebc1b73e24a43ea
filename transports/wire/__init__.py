"""The session protocol's frames, codecs, framing and error catalogue; sans-IO."""
