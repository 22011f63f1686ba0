//! The connector `rest`: records of HTTP APIs, page by page.
