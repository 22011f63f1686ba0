//! The web page: one file in the binary, which asks the interface for everything it shows.

use axum::response::Html;

pub async fn page() -> Html<&'static str> {
    Html(include_str!("page.html"))
}
