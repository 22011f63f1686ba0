//! A reader that tries to learn a secret or to send it away, for the tests of HTTP.
