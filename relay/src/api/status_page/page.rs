//! The status page as HTML. Pure.

use super::text::{Clock, Ether, Text};
use alloy_primitives::{Address, B256, U256};
use earnest_builder_types::BlsPublicKey;
use earnest_protocol::objects::AllocationEntry;
use std::fmt::{self, Display, Formatter};

/// The page's one style sheet, which stands in it.
pub(super) const STYLE: &str = include_str!("style.css");

/// What the page shows.
#[derive(Debug, Clone)]
pub(super) struct Page {
    /// Nothing, or what is not ready.
    pub(super) ready: Result<(), String>,
    pub(super) address: Address,
    pub(super) pubkey: BlsPublicKey,
    pub(super) chain_id: u64,
    pub(super) genesis_fork_version: [u8; 4],
    pub(super) slot: u64,
    pub(super) epoch: u64,
    pub(super) registered: usize,
    pub(super) bids: usize,
    pub(super) builders: usize,
    /// When the page was made, Unix milliseconds.
    pub(super) now_ms: u64,
    /// Seconds after which a browser asks again.
    pub(super) refresh_secs: u64,
    pub(super) slots: Vec<ComingSlot>,
    /// Slots beyond those shown whose proposers are known.
    pub(super) more_slots: usize,
    pub(super) delegations: Vec<DelegatedSlot>,
    pub(super) delivered: Vec<DeliveredPayload>,
}

/// A slot from the current one on.
#[derive(Debug, Clone)]
pub(super) struct ComingSlot {
    pub(super) slot: u64,
    pub(super) start_ms: u64,
    pub(super) validator_index: u64,
    pub(super) proposer: BlsPublicKey,
    pub(super) registered: bool,
    pub(super) opted_in: bool,
    pub(super) committer: Option<Address>,
    /// Transactions that its block must hold.
    pub(super) constraints: usize,
    /// What leads its auction.
    pub(super) best: Option<(U256, BlsPublicKey)>,
}

/// A delegation, and what it gives to whom.
#[derive(Debug, Clone)]
pub(super) struct DelegatedSlot {
    pub(super) slot: u64,
    pub(super) proposer: BlsPublicKey,
    pub(super) committer: Address,
    pub(super) delegate: BlsPublicKey,
    pub(super) received_at_ms: u64,
    pub(super) entries: Vec<AllocationEntry>,
}

/// A payload that was unblinded.
#[derive(Debug, Clone)]
pub(super) struct DeliveredPayload {
    pub(super) slot: u64,
    pub(super) block_number: u64,
    pub(super) block_hash: B256,
    pub(super) value: U256,
    pub(super) builder: BlsPublicKey,
    pub(super) transactions: u64,
    /// Whether a beacon node imported the block; else it was spread, and judged no further.
    pub(super) imported: bool,
}

impl Display for Page {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="{}">
<title>Earnest relay</title>
<style>{STYLE}</style>
</head>
<body>
"#,
            self.refresh_secs
        )?;
        self.head(f)?;
        self.coming(f)?;
        self.payloads(f)?;
        self.delegated(f)?;
        write!(
            f,
            r#"<footer>
<p>Made at {} UTC, and again every {} s. Machines read <a href="/ordering/v1/schedule">the schedule</a>,
<a href="/relay/v1/data/bidtraces/proposer_payload_delivered">delivered payloads</a>,
<a href="/openapi.json">the API</a>, <a href="/metrics">metrics</a> and <a href="/readyz">readiness</a>.</p>
</footer>
</body>
</html>
"#,
            Clock(self.now_ms),
            self.refresh_secs
        )
    }
}

impl Page {
    fn head(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("<header>\n<h1>Earnest relay</h1>\n")?;
        match &self.ready {
            Ok(()) => f.write_str("<span class=\"badge good\">ready</span>\n")?,
            Err(cause) => write!(
                f,
                "<span class=\"badge bad\">not ready</span>\n<p class=\"cause\">{}</p>\n",
                Text(cause)
            )?,
        }
        f.write_str("</header>\n<section>\n<dl>\n")?;
        let version = alloy_primitives::FixedBytes(self.genesis_fork_version);
        let rows: [(&str, &dyn Display); 7] = [
            ("Slot", &format_args!("{}, epoch {}", self.slot, self.epoch)),
            ("Network", &format_args!("{}", NetworkName(self.chain_id))),
            ("Genesis fork version", &version),
            ("Version", &env!("CARGO_PKG_VERSION")),
            ("Validators registered", &self.registered),
            ("Builders bidding", &self.builders),
            ("Bids kept", &self.bids),
        ];
        for (name, value) in rows {
            writeln!(f, "<div><dt>{name}</dt><dd>{}</dd></div>", Text(value))?;
        }
        let keys: [(&str, &dyn Display); 2] =
            [("Address that signs receipts", &self.address), ("Key that signs bids", &self.pubkey)];
        for (name, value) in keys {
            writeln!(f, "<div class=\"wide\"><dt>{name}</dt><dd><code>{}</code></dd></div>", Text(value))?;
        }
        f.write_str("</dl>\n</section>\n")
    }

    fn coming(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let head = [
            ("Slot", true),
            ("Starts, UTC", false),
            ("Validator", true),
            ("Proposer", false),
            ("Registered", false),
            ("Opted in", false),
            ("Delegated to", false),
            ("Constraints", true),
            ("Best bid", true),
            ("Builder", false),
        ];
        let note = match self.more_slots {
            0 => String::new(),
            more => format!("and {more} more in the schedule"),
        };
        table(
            f,
            "Coming slots",
            &note,
            &head,
            &self.slots,
            "No beacon node has told who proposes.",
            |f, row| {
                let class = if row.slot == self.slot { " class=\"now\"" } else { "" };
                write!(f, "<tr{class}><td class=\"number\">{}</td>", row.slot)?;
                write!(f, "<td>{}", Clock(row.start_ms))?;
                match row.start_ms.checked_sub(self.now_ms) {
                    Some(ahead) => {
                        write!(f, " <span class=\"quiet\">in {} s</span></td>", ahead.div_ceil(1000))?;
                    }
                    None => f.write_str(" <span class=\"quiet\">now</span></td>")?,
                }
                write!(f, "<td class=\"number\">{}</td>{}", row.validator_index, Hex(&row.proposer))?;
                write!(f, "{}{}", YesNo(row.registered), YesNo(row.opted_in))?;
                match &row.committer {
                    Some(committer) => write!(f, "{}", AddressCell(committer))?,
                    None => f.write_str(NOTHING)?,
                }
                match row.constraints {
                    0 => f.write_str("<td class=\"number quiet\">–</td>")?,
                    count => write!(f, "<td class=\"number\">{count}</td>")?,
                }
                match &row.best {
                    Some((value, builder)) => {
                        write!(f, "<td class=\"number\">{}</td>{}", Ether(*value), Hex(builder))?;
                    }
                    None => write!(f, "<td class=\"number quiet\">–</td>{NOTHING}")?,
                }
                f.write_str("</tr>\n")
            },
        )
    }

    fn delegated(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let head = [
            ("Slot", true),
            ("Proposer", false),
            ("Committer", false),
            ("Delegate", false),
            ("Received, UTC", false),
            ("Rollups", false),
        ];
        let none = "No slot that is known ahead is delegated.";
        table(f, "Delegations", "", &head, &self.delegations, none, |f, row| {
            write!(
                f,
                "<tr><td class=\"number\">{}</td>{}{}{}<td>{}</td><td>",
                row.slot,
                Hex(&row.proposer),
                AddressCell(&row.committer),
                Hex(&row.delegate),
                Clock(row.received_at_ms)
            )?;
            if row.entries.is_empty() {
                f.write_str("<span class=\"quiet\">none: for L1 inclusion alone</span>")?;
            }
            for (number, entry) in row.entries.iter().enumerate() {
                let line = if number == 0 { "" } else { "<br>" };
                let (rollup, price) = (entry.rollup_id, Ether(entry.price_wei.0));
                write!(
                    f,
                    "{line}{rollup} to <code class=\"address\" title=\"{0}\">{0}</code>",
                    Text(entry.committer)
                )?;
                write!(f, " for {price} <span class=\"quiet\">{}</span>", Text(&entry.url))?;
            }
            f.write_str("</td></tr>\n")
        })
    }

    fn payloads(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let head = [
            ("Slot", true),
            ("Block", true),
            ("Hash", false),
            ("Value", true),
            ("Builder", false),
            ("Transactions", true),
            ("Beacon nodes", false),
        ];
        let none = "No payload has been delivered.";
        table(f, "Delivered payloads", "newest first", &head, &self.delivered, none, |f, row| {
            let (class, fate) = if row.imported { ("good", "imported") } else { ("bad", "only broadcast") };
            writeln!(
                f,
                "<tr><td class=\"number\">{}</td><td class=\"number\">{}</td>{}<td class=\"number\">{}</td>{}\
                 <td class=\"number\">{}</td><td><span class=\"badge {class}\">{fate}</span></td></tr>",
                row.slot,
                row.block_number,
                Hex(&row.block_hash),
                Ether(row.value),
                Hex(&row.builder),
                row.transactions
            )
        })
    }
}

/// An empty cell.
const NOTHING: &str = "<td class=\"quiet\">–</td>";

fn table<T>(
    f: &mut Formatter<'_>,
    title: &str,
    note: &str,
    head: &[(&str, bool)],
    rows: &[T],
    none: &str,
    row: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    writeln!(f, "<section>\n<h2>{title} <small>{}</small></h2>", Text(note))?;
    if rows.is_empty() {
        return writeln!(f, "<p class=\"none\">{none}</p>\n</section>");
    }
    f.write_str("<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>")?;
    for (name, is_number) in head {
        let class = if *is_number { " class=\"number\"" } else { "" };
        write!(f, "<th scope=\"col\"{class}>{name}</th>")?;
    }
    f.write_str("</tr></thead>\n<tbody>\n")?;
    for one in rows {
        row(f, one)?;
    }
    f.write_str("</tbody>\n</table></div>\n</section>\n")
}

/// A cell with a hash or key: its beginning is seen, all of it is there.
struct Hex<'a, T>(&'a T);

impl<T: Display> Display for Hex<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<td><code title=\"{0}\">{0}</code></td>", Text(self.0))
    }
}

/// A cell with an address.
struct AddressCell<'a>(&'a Address);

impl Display for AddressCell<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<td><code class=\"address\" title=\"{0}\">{0}</code></td>", Text(self.0))
    }
}

struct YesNo(bool);

impl Display for YesNo {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "<td>yes</td>" } else { "<td class=\"quiet\">no</td>" })
    }
}

/// A chain id, with the name of its network if that is known.
struct NetworkName(u64);

impl Display for NetworkName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1 => "mainnet",
            17_000 => "Holesky",
            560_048 => "Hoodi",
            11_155_111 => "Sepolia",
            id => return write!(f, "chain {id}"),
        };
        write!(f, "{name} (chain {})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use earnest_protocol::{RollupId, Wei};

    fn page() -> Page {
        let proposer = BlsPublicKey::repeat_byte(2);
        Page {
            ready: Ok(()),
            address: Address::repeat_byte(1),
            pubkey: BlsPublicKey::repeat_byte(1),
            chain_id: 1,
            genesis_fork_version: [0, 0, 0, 1],
            slot: 5,
            epoch: 0,
            registered: 3,
            bids: 4,
            builders: 2,
            now_ms: 60_500,
            refresh_secs: 12,
            slots: vec![ComingSlot {
                slot: 6,
                start_ms: 72_000,
                validator_index: 9,
                proposer,
                registered: true,
                opted_in: false,
                committer: Some(Address::repeat_byte(3)),
                constraints: 2,
                best: Some((U256::from(5), BlsPublicKey::repeat_byte(4))),
            }],
            more_slots: 7,
            delegations: vec![],
            delivered: vec![DeliveredPayload {
                slot: 4,
                block_number: 3,
                block_hash: B256::repeat_byte(5),
                value: U256::from(2_000_000_000_000_000_000_u64),
                builder: BlsPublicKey::repeat_byte(4),
                transactions: 11,
                imported: false,
            }],
        }
    }

    #[test]
    fn what_the_page_says() {
        let html = page().to_string();
        let expected = [
            "<span class=\"badge good\">ready</span>",
            "mainnet (chain 1)",
            "5, epoch 0",
            "<td>00:01:12 <span class=\"quiet\">in 12 s</span></td>",
            "<td>yes</td><td class=\"quiet\">no</td>",
            "and 7 more in the schedule",
            "5 wei",
            "2 ETH",
            "only broadcast",
            "No slot that is known ahead is delegated.",
            "<meta http-equiv=\"refresh\" content=\"12\">",
        ];
        for text in expected {
            assert!(html.contains(text), "{text}\n{html}");
        }
        assert!(!html.contains("<script"));
    }

    #[test]
    fn what_comes_from_outside_stays_text() {
        let hostile = "\"><script>alert('x')</script>";
        let mut page = page();
        page.ready = Err(format!("beacon: {hostile}"));
        let entry = AllocationEntry {
            rollup_id: RollupId(7),
            bid_hash: B256::ZERO,
            account: Address::ZERO,
            committer: Address::repeat_byte(6),
            delegate: BlsPublicKey::ZERO,
            price_wei: Wei(U256::from(1)),
            url: hostile.to_owned(),
        };
        page.delegations = vec![DelegatedSlot {
            slot: 6,
            proposer: BlsPublicKey::ZERO,
            committer: Address::ZERO,
            delegate: BlsPublicKey::ZERO,
            received_at_ms: 0,
            entries: vec![entry],
        }];
        let html = page.to_string();
        assert_eq!(html.matches("alert(&#39;x&#39;)").count(), 2);
        assert!(!html.contains("<script") && !html.contains("alert('"));
    }
}
