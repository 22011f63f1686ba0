//! Tokens of a REST catalog: one that the job has, or one for client credentials (OAuth 2, RFC 6749, section 4.4).

use std::time::{Duration, Instant};

use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use url::Url;

use super::{Patience, Rest};
use crate::capabilities::failure::{ErrorKind, Failure, Result};

/// A token is fetched anew this long before it expires.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);
const DEFAULT_TOKEN_LIFE: Duration = Duration::from_secs(3600);

#[derive(Clone)]
pub struct Token {
    text: String,
    until: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

impl Rest {
    /// The token for a request; none where the catalog asks for none.
    pub async fn bearer(&self, is_refused: bool) -> Result<Option<String>> {
        if let Some(token) = &self.token {
            return Ok(Some(self.secrets.fill(token)));
        }
        let Some(credential) = &self.credential else {
            return Ok(None);
        };
        let mut fetched = self.fetched.lock().await;
        if let Some(token) = fetched
            .as_ref()
            .filter(|token| !is_refused && token.until > Instant::now())
        {
            return Ok(Some(token.text.clone()));
        }
        let token = self.fetch_token(&self.secrets.fill(credential)).await?;
        let text = token.text.clone();
        *fetched = Some(token);
        Ok(Some(text))
    }

    async fn fetch_token(&self, credential: &str) -> Result<Token> {
        let (id, secret) = credential.split_once(':').ok_or_else(|| {
            Failure::new(
                ErrorKind::InvalidConfig,
                "the `credential` of the catalog is not `CLIENT_ID:CLIENT_SECRET`",
            )
            .hint("write `credential: ${SECRET:NAME}`, a secret of that form")
        })?;
        let path = self.tokens.as_deref().unwrap_or("v1/oauth/tokens");
        let url = match path.contains("://") {
            true => Url::parse(path).map_err(|_| {
                Failure::new(ErrorKind::InvalidConfig, "`oauth2_server_uri` is no URL")
            })?,
            false => self.join(path.trim_start_matches('/'))?,
        };
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", id)
            .append_pair("client_secret", secret)
            .append_pair("scope", &self.scope)
            .finish();
        let client = self.client().await?;
        let mut patience = Patience::new();
        let answer = loop {
            let request = client
                .post(url.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.clone());
            match self.settled(self.receive(request).await) {
                Err(failure) if patience.has_more(&failure).await => {}
                outcome => break outcome?,
            }
        };
        if !answer.status.is_success() {
            return Err(self.refused(&answer));
        }
        let answer: TokenAnswer =
            serde_json::from_slice(&answer.body).map_err(|_| self.strange("a token"))?;
        let life = answer
            .expires_in
            .map_or(DEFAULT_TOKEN_LIFE, Duration::from_secs);
        Ok(Token {
            text: answer.access_token,
            until: Instant::now() + life.saturating_sub(TOKEN_MARGIN),
        })
    }
}
