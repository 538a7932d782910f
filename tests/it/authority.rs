//! A certificate authority.

use std::time::{Duration, SystemTime};

use qumulo_encryption_exporter::sim::ClusterSpec;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name`, valid from and to the beginning of these years.
    pub fn issue(&self, name: &str, years: [i32; 2]) -> Issued {
        let key = KeyPair::generate().unwrap();
        Issued { certificate: leaf(name, years).signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

impl Authority {
    /// A certificate that expires this much from now.
    pub fn issue_for(&self, name: &str, time: Duration) -> Issued {
        let (key, mut params) = (KeyPair::generate().unwrap(), leaf(name, [2000, 2001]));
        params.not_after = date_time_ymd(1970, 1, 1) + SystemTime::UNIX_EPOCH.elapsed().unwrap() + time;
        Issued { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

impl Issued {
    /// A certificate that is its own authority.
    pub fn self_signed(name: &str, years: [i32; 2]) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: leaf(name, years).self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// A certificate without subjectAltName, as old guides make them.
    pub fn nameless() -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: params("cluster.example.com").self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Makes it the certificate of a cluster.
    pub fn install(&self, spec: &mut ClusterSpec) {
        spec.certificate_pem = Some(self.certificate.clone());
        spec.key_pem = Some(self.key.clone());
    }
}

fn leaf(name: &str, [from, to]: [i32; 2]) -> CertificateParams {
    let mut params = params("Test leaf");
    params.subject_alt_names = CertificateParams::new([name.to_owned()]).unwrap().subject_alt_names;
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
    params
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
