//! Where the exporter's paths are, and where others find them when a reverse proxy stands in front.

use url::Url;

/// From `--web.external-url` and `--web.route-prefix`, which mean what they mean in Prometheus.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UrlPrefix {
    external: Option<Url>,
    /// In front of every path, without a slash at its end.
    prefix: String,
}

// === impl UrlPrefix ===

impl UrlPrefix {
    /// Without a `prefix` the paths begin as that of the external URL.
    pub fn new(external: Option<Url>, prefix: Option<&str>) -> Self {
        let prefix = prefix.or(external.as_ref().map(Url::path)).unwrap_or_default();
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("/{prefix}"),
        };
        Self { external, prefix }
    }

    /// A path behind the prefix, with it.
    pub fn inner(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// A path without the prefix; `None` for one that is not below it.
    pub fn inside<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&*self.prefix).filter(|path| path.starts_with('/'))
    }

    /// Where to go instead, for whoever knows the host alone or forgot the slash at the end.
    pub fn home(&self, path: &str) -> Option<String> {
        (!self.prefix.is_empty() && (path == "/" || path == self.prefix)).then(|| self.inner("/"))
    }

    /// The path as others ask for it.
    pub fn outside(&self, path: &str) -> String {
        self.external
            .as_ref()
            .map_or_else(|| self.inner(path), |url| format!("{}{path}", url.path().trim_end_matches('/')))
    }

    /// Scheme, and host and port, as others ask for them, if somebody said so.
    pub fn origin(&self) -> Option<(&str, String)> {
        let url = self.external.as_ref()?;
        // Prometheus 3 adds no port of its own.
        Some((url.scheme(), format!("{}:{}", url.host_str()?, url.port_or_known_default()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_as_in_prometheus() {
        let check = |external: Option<&str>,
                     prefix: Option<&str>,
                     inside: &str,
                     outside: &str,
                     origin: Option<(&str, &str)>| {
            let prefix = UrlPrefix::new(external.map(|url| url.parse().unwrap()), prefix);
            assert_eq!(prefix.inside(inside), Some("/sd"), "{external:?} {prefix:?}");
            assert_eq!(prefix.outside("/probe"), outside, "{external:?} {prefix:?}");
            assert_eq!(prefix.origin(), origin.map(|(scheme, host)| (scheme, host.to_owned())));
        };
        check(None, None, "/sd", "/probe", None);
        check(None, Some("/"), "/sd", "/probe", None);
        check(None, Some("a/b/"), "/a/b/sd", "/a/b/probe", None);
        check(Some("https://x"), None, "/sd", "/probe", Some(("https", "x:443")));
        check(Some("http://x:8080/q/"), None, "/q/sd", "/q/probe", Some(("http", "x:8080")));
        check(Some("https://[::1]/q"), Some("/"), "/sd", "/q/probe", Some(("https", "[::1]:443")));
        check(Some("https://x/q"), Some("/inner"), "/inner/sd", "/q/probe", Some(("https", "x:443")));
    }

    #[test]
    fn what_is_not_below_the_prefix_is_not_there() {
        let prefix = UrlPrefix::new(None, Some("/q"));
        for path in ["/sd", "/", "/q", "/qsd", "/Q/sd", "//q/sd", "q/sd", ""] {
            assert_eq!(prefix.inside(path), None, "{path}");
        }
        assert_eq!(
            ["/", "/q", "/q/", "/sd"].map(|path| prefix.home(path)),
            [Some("/q/".into()), Some("/q/".into()), None, None]
        );
        assert_eq!(UrlPrefix::default().home("/"), None);
    }
}
