//! Polls of the client without the exporter, one after the other. The simulated clusters run in a separate process.

use std::{fs, path::Path, sync::Arc, time::Duration};

use qumulo_encryption_exporter::{
    client::{
        Client, ClientSettings, Credential, Pin, ProxySettings, SecretSource, TlsSettings, TransportPool,
        TransportSettings,
    },
    clock,
};

use super::fleet::{Cluster, Fleet, TOKEN};

const CLUSTERS: usize = 50;
const ROUNDS: usize = 20;

/// CPU time of a poll in microseconds: connection, TLS handshake, request, JSON, model.
pub async fn poll(folder: &Path) -> f64 {
    let fleet = Fleet::start(CLUSTERS, folder).await;
    let mut clients = clients(&fleet, folder);
    round(&mut clients).await;
    let before = cpu();
    for _ in 0..ROUNDS {
        round(&mut clients).await;
    }
    (cpu() - before).as_secs_f64() * 1e6 / (CLUSTERS * ROUNDS) as f64
}

async fn round(clients: &mut [Client]) {
    for client in clients {
        client.poll(clock::now().mono).await.unwrap();
    }
}

/// Clients for a fleet. As in production, they read tokens from files.
fn clients(fleet: &Fleet, folder: &Path) -> Vec<Client> {
    let pool = Arc::<TransportPool>::default();
    let client = |(number, cluster): (usize, &Cluster)| {
        let token = folder.join(format!("token-{number}"));
        fs::write(&token, TOKEN).unwrap();
        let pins = vec![cluster.fingerprint.parse::<Pin>().unwrap()];
        let transport = TransportSettings {
            connect_timeout: Duration::from_secs(5),
            proxy: ProxySettings::Direct,
            tls: Some(TlsSettings { pins, ..TlsSettings::default() }),
        };
        let settings = ClientSettings {
            credential: Credential::Token(SecretSource::File(token.into())),
            kms_probe: None,
            transport,
            timeout: Duration::from_secs(10),
            url: cluster.url.parse().unwrap(),
        };
        Client::new(settings, pool.clone())
    };
    fleet.clusters.iter().enumerate().map(client).collect()
}

/// CPU time of this thread, which does all the work.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
