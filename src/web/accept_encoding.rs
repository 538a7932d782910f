//! The `Accept-Encoding` header: RFC 9110, section 12.5.3.

use hyper::{HeaderMap, header::ACCEPT_ENCODING};

/// Whether the client accepts gzip and does not prefer the plain body.
///
/// Without the header the body is sent as it is: the RFC allows every coding then, but not every client can decode gzip.
/// Invalid elements are ignored.
pub fn accepts_gzip(request: &HeaderMap) -> bool {
    // RFC 9110, section 8.4.1.3: `x-gzip` is the same as `gzip`.
    weight(request, &["gzip", "x-gzip"])
        .or_else(|| weight(request, &["*"]))
        .is_some_and(|gzip| gzip > 0.0 && gzip >= weight(request, &["identity"]).unwrap_or(0.0))
}

/// The highest weight that is given to one of these codings.
fn weight(request: &HeaderMap, codings: &[&str]) -> Option<f32> {
    let values = request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let weights = values.flat_map(|value| value.split(',')).filter_map(|element| {
        let (coding, weight) = element.split_once(';').unwrap_or((element, "q=1"));
        let (name, weight) = weight.split_once('=')?;
        let weight = weight.trim().parse().ok().filter(|weight| (0.0..=1.0).contains(weight))?;
        let is_meant = codings.iter().any(|each| coding.trim().eq_ignore_ascii_case(each));
        (is_meant && name.trim().eq_ignore_ascii_case("q")).then_some(weight)
    });
    weights.reduce(f32::max)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(values: &[&str], expect: bool) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap());
        }
        assert_eq!(accepts_gzip(&headers), expect, "{values:?}");
    }

    #[test]
    fn by_the_rfc() {
        check(&[], false);
        check(&[""], false);
        check(&["gzip"], true);
        check(&["GZip"], true);
        check(&["x-gzip"], true);
        check(&["*"], true);
        check(&["deflate, br"], false);
        check(&["deflate,gzip;q=0.5 , br"], true);
        check(&["zstd;q=1.0", "gzip;q=0.8"], true);
        check(&["gzip;q=0"], false);
        check(&["gzip;q=0.000"], false);
        check(&["gzip ; Q=0.001"], true);
        check(&["*;q=0"], false);
        check(&["gzip;q=0, *"], false);
        check(&["gzip, *;q=0"], true);
        check(&["br, *;q=0.1"], true);
        check(&["identity"], false);
        check(&["identity, gzip"], true);
        check(&["identity;q=1, gzip;q=0.5"], false);
        check(&["identity;q=0"], false);
        check(&["identity;q=0, gzip;q=0.1"], true);
        check(&["gzipped"], false);
    }

    #[test]
    fn invalid_elements_are_ignored() {
        for weight in ["q=", "q=2", "q=1.001", "q=-1", "q=nan", "level=9", ""] {
            check(&[&format!("gzip;{weight}")], false);
            check(&[&format!("gzip;{weight}, gzip")], true);
        }
        check(&[",,;,gzip"], true);
    }
}
