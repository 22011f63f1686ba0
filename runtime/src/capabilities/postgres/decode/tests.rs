//! What the decoder makes of bytes, beginning with those that it refuses.
