//! What a caller is told that speaks no TLS to a port that does, in its own protocol where that is known.

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;
/// How a client begins that speaks HTTP/2, and with it gRPC.
const HTTP2: &[u8] = b"PRI ";
/// Methods of HTTP/1.1.
const HTTP1: [&[u8]; 6] = [b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI"];

/// Whether these first bytes are those of TLS.
pub(crate) fn is_tls(first: &[u8]) -> bool {
    first.first() == Some(&HANDSHAKE)
}

/// The answer to these first bytes; empty where the protocol is unknown.
pub(crate) fn answer(first: &[u8]) -> Vec<u8> {
    if first.starts_with(HTTP2) {
        http2("this port speaks TLS: pass --tls-cert, --tls-key and --tls-ca")
    } else if HTTP1.iter().any(|method| first.starts_with(method)) {
        http1("this port speaks TLS: use https://\n")
    } else {
        Vec::new()
    }
}

fn http1(text: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

/// Empty settings, and a GOAWAY for inadequate security.
fn http2(text: &str) -> Vec<u8> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const INADEQUATE_SECURITY: u32 = 0xc;
    let length = u32::try_from(8 + text.len()).unwrap_or(8).to_be_bytes();
    let mut answer = SETTINGS.to_vec();
    answer.extend([length[1], length[2], length[3], 7, 0, 0, 0, 0, 0]);
    answer.extend(0_u32.to_be_bytes());
    answer.extend(INADEQUATE_SECURITY.to_be_bytes());
    answer.extend(text.as_bytes());
    answer
}
