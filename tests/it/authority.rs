//! A CA for tests.

use std::time::{Duration, SystemTime};

use qumulo_simulator::ClusterSpec;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair, SanType,
    date_time_ymd,
};

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Certificate and key in PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    /// A self-signed CA, modified by `change`.
    pub fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self(CertifiedIssuer::self_signed(authority(name, change), KeyPair::generate().unwrap()).unwrap())
    }

    /// An intermediate CA, modified by `change`.
    pub fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let params = authority(name, change);
        Self(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    /// A certificate that signs others although it is not a CA certificate.
    pub fn not_a_ca(name: &str) -> Self {
        Self::with(name, |params| {
            params.is_ca = IsCa::ExplicitNoCa;
            params.subject_alt_names = leaf(name, [2000, 2100]).subject_alt_names;
        })
    }

    /// Certificate and key of the CA, for a server or a client.
    pub fn issued(&self) -> Issued {
        Issued { certificate: self.pem(), key: self.0.key().serialize_pem() }
    }

    /// The CA certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name`. Valid from and until the beginning of these years.
    pub fn issue(&self, name: &str, years: [i32; 2]) -> Issued {
        self.issue_with(name, years, |_| {})
    }

    /// Like `issue`, modified by `change`.
    pub fn issue_with(&self, name: &str, years: [i32; 2], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let (key, mut params) = (KeyPair::generate().unwrap(), leaf(name, years));
        change(&mut params);
        Issued { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

impl Authority {
    /// A certificate that expires after `time`.
    pub fn issue_for(&self, name: &str, time: Duration) -> Issued {
        let (key, mut params) = (KeyPair::generate().unwrap(), leaf(name, [2000, 2001]));
        params.not_after = date_time_ymd(1970, 1, 1) + SystemTime::UNIX_EPOCH.elapsed().unwrap() + time;
        Issued { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

impl Issued {
    /// A self-signed certificate.
    pub fn self_signed(name: &str, years: [i32; 2]) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: leaf(name, years).self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// A certificate without subjectAltName, as in old instructions.
    pub fn nameless() -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: params("cluster.example.com").self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Appends the certificate of the intermediate CA.
    pub fn through(mut self, intermediate: &Authority) -> Self {
        self.certificate += &intermediate.pem();
        self
    }

    /// Sets the certificate of a simulated cluster.
    pub fn install(&self, spec: &mut ClusterSpec) {
        spec.certificate_pem = Some(self.certificate.clone() + &self.key);
    }
}

/// An empty critical extension.
pub fn critical(id: &[u64]) -> Vec<CustomExtension> {
    let mut extension = CustomExtension::from_oid_content(id, vec![0x30, 0]);
    extension.set_criticality(true);
    vec![extension]
}

/// A DNS name that is not validated.
pub fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn authority(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    params
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
