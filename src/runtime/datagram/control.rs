//! What travels beside a datagram: the address of ours that it was sent to or should come from, and the size of the
//! segments of which there are several (UDP_GRO, UDP_SEGMENT).

#![expect(clippy::cast_possible_truncation, reason = "sizes of the kernel's own structs")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Local;

/// Room for the messages of one datagram, aligned as the kernel asks.
#[derive(Clone, Copy, Default)]
pub(super) struct Control([u64; WORDS]);

/// The two largest messages: 40 B for the address, 24 B for the segments.
const WORDS: usize = 12;

impl Control {
    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }

    pub(super) fn capacity(&self) -> usize {
        WORDS * size_of::<u64>()
    }

    /// Writes what is to be sent along; how many bytes. A segment of 0 and no address need none.
    pub(super) fn write(&mut self, segment: u16, local: Option<Local>) -> usize {
        let mut used = 0;
        if segment > 0 {
            used = self.append(used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
        match local.map(|local| (local.ip, local.interface)) {
            None => used,
            Some((IpAddr::V4(ip), _)) => {
                let address = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: address,
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                self.append(used, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
            }
            Some((IpAddr::V6(ip), interface)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
                    ipi6_ifindex: interface,
                };
                self.append(used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
            }
        }
    }

    /// Appends one message; returns how many bytes are used then.
    fn append<T: Copy>(&mut self, used: usize, level: i32, kind: i32, value: T) -> usize {
        // SAFETY: pure arithmetic, here and below.
        let (len, space) =
            unsafe { (libc::CMSG_LEN(size_of::<T>() as u32), libc::CMSG_SPACE(size_of::<T>() as u32)) };
        let end = used + space as usize;
        assert!(end <= self.capacity(), "the two messages there are fit");
        let header = libc::cmsghdr { cmsg_len: len as usize, cmsg_level: level, cmsg_type: kind };
        let at = self.as_mut_ptr();
        // SAFETY: `used..end` is within the array (asserted), and holds a header and a `T` behind it by CMSG_SPACE.
        unsafe {
            let at = at.add(used);
            at.cast::<libc::cmsghdr>().write_unaligned(header);
            at.add(libc::CMSG_LEN(0) as usize).cast::<T>().write_unaligned(value);
        }
        end
    }
}

/// What a received datagram brought along: the size of its segments, and the address of ours that it was sent to.
pub(super) fn parse(header: &libc::msghdr) -> (Option<u32>, Option<Local>) {
    let (mut segment, mut local) = (None, None);
    if header.msg_control.is_null() {
        return (segment, local);
    }
    // SAFETY: the kernel has written `msg_controllen` bytes of messages to `msg_control`, a `Control` that lives as long
    // as the header; FIRSTHDR and NXTHDR stay within them. Here and below.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: as above.
        let (head, data) =
            unsafe { (message.cast::<libc::cmsghdr>().read_unaligned(), libc::CMSG_DATA(message)) };
        // SAFETY: pure arithmetic.
        let len = head.cmsg_len.saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        match (head.cmsg_level, head.cmsg_type) {
            (libc::SOL_UDP, libc::UDP_GRO) if len >= size_of::<i32>() => {
                // SAFETY: an int of the message, whose length was looked at. Here and below with other types.
                segment = u32::try_from(unsafe { data.cast::<i32>().read_unaligned() }).ok();
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) if len >= size_of::<libc::in_pktinfo>() => {
                // SAFETY: as above.
                let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                let ip = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                local = Some(Local { ip: ip.into(), interface: 0 });
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if len >= size_of::<libc::in6_pktinfo>() => {
                // SAFETY: as above.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                local = Local::v6(Ipv6Addr::from(info.ipi6_addr.s6_addr), info.ipi6_ifindex);
            }
            _ => {}
        }
        // SAFETY: as for the first one.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    (segment, local)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(segment: u16, local: Option<Local>) -> (Option<u32>, Option<Local>) {
        let mut control = Control::default();
        let bytes = control.write(segment, local);
        // SAFETY: all-zero is a valid `msghdr`.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        (header.msg_control, header.msg_controllen) = (control.as_mut_ptr().cast(), bytes);
        if bytes == 0 {
            header.msg_control = std::ptr::null_mut();
        }
        parse(&header)
    }

    #[test]
    fn what_is_written_reads_back() {
        let v4 = Some(Local { ip: [127, 0, 0, 9].into(), interface: 0 });
        let v6 = Local::v6(Ipv6Addr::LOCALHOST, 1);
        let link = Local::v6("fe80::1".parse().expect("an address"), 3);
        assert_eq!(
            link.map(|local| local.interface),
            Some(3),
            "only there the address alone says too little"
        );
        for local in [None, v4, v6, link] {
            assert_eq!(written(0, local).1, local);
            // UDP_SEGMENT is not UDP_GRO: what we send is not taken for what was received.
            assert_eq!(written(1200, local), (None, local));
        }
        assert_eq!(written(0, None), (None, None));
    }

    #[test]
    fn a_group_is_no_address_to_answer_from() {
        assert_eq!(Local::v6("ff02::1".parse().expect("an address"), 3), None);
    }
}
