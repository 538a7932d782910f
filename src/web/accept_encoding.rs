//! Whether a client wants gzip: `Accept-Encoding` as RFC 9110, section 12.5.3 has it.

use hyper::{HeaderMap, header::ACCEPT_ENCODING};

/// Whether gzip is what these request headers prefer to the plain body, or like as much.
///
/// Without the header every coding would be acceptable, but a client that says nothing may be one that understands
/// nothing: it gets the plain body. So does one that lists `identity` with a higher weight. Elements that cannot be
/// understood are passed over.
pub fn accepts_gzip(request: &HeaderMap) -> bool {
    let mut gzip = None;
    let mut any = None;
    let mut identity = None;
    let values = request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for (coding, weight) in values.flat_map(|value| value.split(',')).filter_map(parse_element) {
        let slot = match coding {
            Coding::Any => &mut any,
            Coding::Gzip => &mut gzip,
            Coding::Identity => &mut identity,
        };
        // `None` is less than any weight.
        *slot = (*slot).max(Some(weight));
    }
    gzip.or(any).is_some_and(|weight| weight > 0 && weight >= identity.unwrap_or(0))
}

/// The codings that matter here.
enum Coding {
    Any,
    Gzip,
    Identity,
}

/// One element of the list with its weight in thousandths; `None` for other codings and for what is no element.
fn parse_element(element: &str) -> Option<(Coding, u16)> {
    let (name, parameter) = match element.split_once(';') {
        Some((name, parameter)) => (name.trim(), Some(parameter.trim())),
        None => (element.trim(), None),
    };
    let coding = match name {
        "*" => Coding::Any,
        // RFC 9110, section 8.4.1.3: `x-gzip` is the same.
        _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => Coding::Gzip,
        _ if name.eq_ignore_ascii_case("identity") => Coding::Identity,
        _ => return None,
    };
    let weight = match parameter {
        Some(parameter) => parse_weight(parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))?)?,
        None => 1000,
    };
    Some((coding, weight))
}

/// `0` to `1` with up to three decimals, in thousandths.
fn parse_weight(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
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
    fn nonsense_is_passed_over() {
        for weight in ["q=", "q=2", "q=1.001", "q=0.1234", "q=-1", "q=+0", "q=.5", "q=nan", "level=9", ""] {
            check(&[&format!("gzip;{weight}")], false);
            check(&[&format!("gzip;{weight}, gzip")], true);
        }
        check(&[",,;,gzip"], true);
    }
}
