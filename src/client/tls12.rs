//! The certificate of a server that knows none of rustls' cipher suites. KMIP's profiles ask for suites with CBC and with RSA key
//! exchange, which rustls rightly does not have; but up to TLS 1.2 (RFC 5246) a server shows its certificate before anything is
//! encrypted, so no cryptography is needed to look at it.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest list of certificates, with what comes before it.
const MAX: usize = 128 * 1024;

/// What a record and a message of a handshake begin with.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const CERTIFICATE: u8 = 11;

/// From the safest to those of KMIP's first profile. None of them is ever used.
const SUITES: [u16; 23] = [
    0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc023, 0xc027, 0xc024, 0xc028, 0xc009, 0xc013, 0xc00a, 0xc014,
    0x009c, 0x009d, 0x003c, 0x003d, 0x0067, 0x006b, 0x002f, 0x0035, 0x000a,
];

/// x25519, secp256r1, secp384r1, secp521r1.
const GROUPS: [u16; 4] = [0x001d, 0x0017, 0x0018, 0x0019];

/// RSA and ECDSA with SHA-2, RSA-PSS, and with SHA-1.
const SIGNATURES: [u16; 11] = [0x0403, 0x0503, 0x0603, 0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806, 0x0203, 0x0201];

/// The first certificate that a server shows, DER. `name` is the one to ask for, if it is no address.
pub async fn certificate(mut stream: impl AsyncRead + AsyncWrite + Unpin, name: Option<&str>) -> Option<Vec<u8>> {
    stream.write_all(&client_hello(name)?).await.ok()?;
    let (mut messages, mut read) = (Vec::new(), 0);
    loop {
        if let Found::Certificate(certificate) = first_certificate(&messages)? {
            return Some(certificate.to_vec());
        }
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.ok()?;
        let [kind, _, _, high, low] = head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        read += head.len() + length;
        // An alert, or anything else that is not wanted.
        if kind != HANDSHAKE || length == 0 || read > MAX {
            return None;
        }
        let start = messages.len();
        messages.resize(start + length, 0);
        stream.read_exact(messages.get_mut(start..)?).await.ok()?;
    }
}

/// What the messages of a server have so far.
#[derive(Debug, PartialEq)]
enum Found<'a> {
    Certificate(&'a [u8]),
    More,
}

/// `None` if no certificate can follow any more.
fn first_certificate(mut messages: &[u8]) -> Option<Found<'_>> {
    loop {
        let Some(([kind, length @ ..], rest)) = messages.split_first_chunk::<4>() else { return Some(Found::More) };
        let Some((body, after)) = rest.split_at_checked(number(length)) else {
            return (number(length) <= MAX).then_some(Found::More);
        };
        if *kind == CERTIFICATE {
            let (_, list) = body.split_first_chunk::<3>()?;
            let (length, list) = list.split_first_chunk::<3>()?;
            return list.get(..number(length)).filter(|leaf| !leaf.is_empty()).map(Found::Certificate);
        }
        messages = after;
    }
}

fn number(&[a, b, c]: &[u8; 3]) -> usize {
    usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
}

fn client_hello(name: Option<&str>) -> Option<Vec<u8>> {
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    let mut extensions = Vec::new();
    if let Some(name) = name {
        extensions.extend(extension(0, &sized(&[&[0][..], &sized(name.as_bytes())?].concat())?)?);
    }
    extensions.extend(extension(10, &sized(&numbers(&GROUPS))?)?);
    // Points that are not compressed.
    extensions.extend(extension(11, &[1, 0])?);
    extensions.extend(extension(13, &sized(&numbers(&SIGNATURES))?)?);
    let no_session = [0];
    let no_compression = [1, 0];
    let body =
        [&[3, 3][..], &random, &no_session, &sized(&numbers(&SUITES))?, &no_compression, &sized(&extensions)?].concat();
    let length = u16::try_from(body.len()).ok()?.to_be_bytes();
    let message = [&[CLIENT_HELLO, 0][..], &length, &body].concat();
    // The version of a record before the versions are agreed upon.
    Some([&[HANDSHAKE, 3, 1][..], &sized(&message)?].concat())
}

fn extension(kind: u16, body: &[u8]) -> Option<Vec<u8>> {
    Some([&kind.to_be_bytes()[..], &sized(body)?].concat())
}

/// With its length in two bytes before it.
fn sized(bytes: &[u8]) -> Option<Vec<u8>> {
    Some([&u16::try_from(bytes.len()).ok()?.to_be_bytes()[..], bytes].concat())
}

fn numbers(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::server::Acceptor;

    use super::*;

    #[test]
    fn the_hello_is_one_that_a_server_understands() {
        for name in [Some("kms.example.com"), None] {
            let mut acceptor = Acceptor::default();
            acceptor.read_tls(&mut &*client_hello(name).unwrap()).unwrap();
            let accepted = acceptor.accept().unwrap().unwrap();
            assert_eq!(accepted.client_hello().server_name(), name);
            assert_eq!(accepted.client_hello().cipher_suites().len(), SUITES.len());
        }
    }

    #[test]
    fn messages_are_taken_apart() {
        let hello = [2, 0, 0, 2, 9, 9];
        let shown = [11, 0, 0, 9, 0, 0, 6, 0, 0, 3, 1, 2, 3];
        let whole = [&hello[..], &shown].concat();
        assert_eq!(first_certificate(&whole), Some(Found::Certificate(&[1, 2, 3])));
        for end in 0..whole.len() {
            assert_eq!(first_certificate(&whole[..end]), Some(Found::More), "{end}");
        }
        for nothing in
            [&[11, 0, 0, 3, 0, 0, 0][..], &[11, 0, 0, 0], &[11, 0, 0, 6, 0, 0, 3, 0, 0, 9], &[2, 255, 255, 255]]
        {
            assert_eq!(first_certificate(nothing), None, "{nothing:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = first_certificate(&bytes);
        }
    }
}
