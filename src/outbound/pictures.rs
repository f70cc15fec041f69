//! Images by URL: from listed hosts only, and never from a machine of ours.
//!
//! A URL in a request makes the server ask another machine on the sender's behalf. So the host must be listed, its name
//! is looked up once and the connection goes to the addresses of that look-up, none of which may be private; redirects
//! are checked like the first address; bytes and time are limited.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::header::LOCATION;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::address;
use super::blocking;
use super::hosts::{HostError, Hosts};
use crate::config::app::AppSettings;

/// Time for everything: look-up, redirects and all bytes.
const TIME: Duration = Duration::from_secs(10);
const REDIRECTS: usize = 3;

/// Why an image was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` {problem}")]
pub struct FetchError {
    /// The address, shortened.
    pub url: String,
    /// What is wrong with it and what to do.
    pub problem: String,
}

/// Resolves host names; tests replace it.
pub trait Lookup: Send + Sync {
    /// The addresses of `host:port`.
    ///
    /// # Errors
    /// If the name is unknown or there is no answer.
    fn addresses(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>>;
}

/// Fetches images from listed hosts.
#[derive(Clone)]
pub struct ImageFetcher {
    hosts: Hosts,
    max_bytes: u64,
    time: Duration,
    lookup: Option<Arc<dyn Lookup>>,
    permitted: fn(IpAddr) -> bool,
}

impl ImageFetcher {
    /// A fetcher under the settings `image_hosts` and `max_image_bytes`.
    pub fn of(settings: &AppSettings) -> Self {
        Self {
            hosts: Hosts::new(&settings.image_hosts),
            max_bytes: settings.limits.image_bytes as u64,
            time: TIME,
            lookup: None,
            permitted: address::is_public,
        }
    }

    /// The same with other name servers and another rule for addresses: for tests, whose servers are on this machine.
    #[must_use]
    pub fn with_network(self, lookup: Arc<dyn Lookup>, permitted: fn(IpAddr) -> bool, time: Duration) -> Self {
        Self { lookup: Some(lookup), permitted, time, ..self }
    }

    /// Is this an address that would be fetched, were its host listed?
    pub fn is_web(url: &str) -> bool {
        let begins = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        begins("http://") || begins("https://")
    }

    /// Downloads `url`. Blocks.
    ///
    /// # Errors
    /// When the host is not listed or not public, does not answer in time, or sends too much or no success.
    pub fn fetch(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let shown = || url.chars().filter(|c| !c.is_control()).take(200).collect();
        self.follow(url).map_err(|problem| FetchError { url: shown(), problem })
    }

    fn follow(&self, url: &str) -> Result<Vec<u8>, String> {
        let refusal = Arc::new(Mutex::new(None));
        let guarded = Guarded { fetcher: self.clone(), refusal: Arc::clone(&refusal) };
        let agent = ureq::Agent::with_parts(blocking::settings(self.time), DefaultConnector::default(), guarded);
        let mut uri: Uri = url.parse().map_err(|_| "is not a URL".to_owned())?;
        for _ in 0..=REDIRECTS {
            self.check(&uri)?;
            let answer = agent.get(uri.clone()).header("accept", "image/*").call();
            let mut answer = answer.map_err(|error| {
                let refused = refusal.lock().take();
                refused.unwrap_or_else(|| format!("cannot be fetched: {error}"))
            })?;
            if !answer.status().is_redirection() {
                return self.read(&mut answer);
            }
            let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            uri = target(&uri, to).ok_or_else(|| "redirects to nowhere".to_owned())?;
        }
        Err(format!("redirects more than {REDIRECTS} times"))
    }

    fn read(&self, answer: &mut ureq::http::Response<ureq::Body>) -> Result<Vec<u8>, String> {
        if !answer.status().is_success() {
            return Err(format!("answers {}", answer.status()));
        }
        let limit = self.max_bytes;
        let large = || format!("has more than {limit} bytes, which is the limit (max_image_bytes)");
        if answer.body().content_length().is_some_and(|bytes| bytes > limit) {
            return Err(large());
        }
        let body = answer.body_mut().with_config().limit(limit).read_to_vec();
        body.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => large(),
            other => format!("broke off: {other}"),
        })
    }

    fn check(&self, uri: &Uri) -> Result<(), String> {
        self.hosts.check(uri).map_err(|error| match error {
            HostError::Scheme => "must begin with http:// or https://".to_owned(),
            HostError::NoHost => "names no host".to_owned(),
            HostError::UserName => "holds a user name".to_owned(),
            HostError::Unlisted(host) => format!(
                "is not fetched: `{host}` is not in the setting image_hosts (VGPO_IMAGE_HOSTS); send the image as a \
                 data: URL, or have the host listed"
            ),
        })
    }
}

/// Where a redirect leads; a path alone stays with its host.
fn target(from: &Uri, to: &str) -> Option<Uri> {
    if to.starts_with('/') && !to.starts_with("//") {
        return format!("{}://{}{to}", from.scheme_str()?, from.authority()?).parse().ok();
    }
    to.parse().ok().filter(|uri: &Uri| uri.scheme().is_some() && uri.authority().is_some())
}

/// The look-up of every connection: what it returns is what is connected to.
struct Guarded {
    fetcher: ImageFetcher,
    /// Why the last look-up was refused, in words that the HTTP client has no place for.
    refusal: Arc<Mutex<Option<String>>>,
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}

impl Resolver for Guarded {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = match &self.fetcher.lookup {
            None => DefaultResolver::default().resolve(uri, config, timeout)?,
            Some(lookup) => {
                let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
                let mut found = self.empty();
                for address in lookup.addresses(uri.host().unwrap_or_default(), port)? {
                    found.push(address);
                }
                found
            }
        };
        let private = found.iter().find(|address| !(self.fetcher.permitted)(address.ip()));
        if let Some(address) = private {
            let why = format!(
                "is not fetched: its host is at {}, which is not an address of the public internet",
                address.ip()
            );
            *self.refusal.lock() = Some(why);
            return Err(ureq::Error::HostNotFound);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_setting() {
        let fetcher =
            ImageFetcher { hosts: Hosts::new(&[]), max_bytes: 1000, time: TIME, lookup: None, permitted: |_| true };
        let refused = fetcher.check(&"https://img.example/a".parse().unwrap()).unwrap_err();
        assert!(refused.contains("image_hosts") && refused.contains("VGPO_IMAGE_HOSTS"), "{refused}");
    }

    #[test]
    fn redirects_lead_somewhere() {
        let from: Uri = "https://img.example/a/b?c".parse().unwrap();
        let to = |text| target(&from, text).map(|uri| uri.to_string());
        assert_eq!(to("/x").as_deref(), Some("https://img.example/x"));
        assert_eq!(to("http://other.example/x").as_deref(), Some("http://other.example/x"));
        assert_eq!(to("//other.example/x"), None);
        assert_eq!(to(""), None);
    }
}
