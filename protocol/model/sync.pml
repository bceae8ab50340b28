/*
 * The sync protocol between one journal, a copy of it, and one aggregator, for
 * Spin. README.md says which state here is which in the code, and what the
 * bounds are.
 *
 * A journal is a number: record k is the two bits at 2(k-1), an event id from 1
 * to 3. So the chain at seq n is the journal's lowest 2n bits, and two chains are
 * equal exactly when the histories are: a hash without collisions.
 *
 * Every branch of the loop is one atomic step of the real thing: a commit of the
 * journal, a transaction of the ledger, a message that is taken. All orders of
 * them are looked at. The network takes a message over at once, or holds it back
 * and gives it later, again and again or never: so it loses, doubles and reorders.
 * A process that ends loses only what it had not said.
 *
 * Built with one of these, a promise breaks:
 *   TRIM_AT_MERGED NO_EVENT_DEDUPE GAP_ACCEPTED STALE_LEASE NO_CHAIN
 *   ACK_BEFORE_COMMIT CURSOR_ON_PUBACK LEASE_REUSED ACK_UNCHECKED
 */
#ifndef LEASES
#define LEASES 3 /* HELLOs answered */
#endif
#ifndef EVENTS
#define EVENTS 2 /* at most 3: ids have two bits */
#endif
#ifndef DISASTERS
#define DISASTERS 3 /* of clone, rollback and restore: each once, so many in one run */
#endif

#define UPTO(j, n)   ((j) & ((1 << (2 * (n))) - 1))
#define RECORD(j, k) (((j) >> (2 * ((k) - 1))) & 3)
#define BIT(id)      (1 << (id))

#define GREETING 0 /* or not there at all */
#define SENDING  1
#define MERGED   7 /* HELLO speaks of merged */

typedef Host {
	byte journal;
	unsigned head : 3, gone : 3; /* records 1..gone are trimmed: tail - 1 */
	unsigned epoch : 4, merged : 3, safe : 3;
	bit phase; unsigned lease : 4, at : 3 /* at: of this seq speaks HELLO */
};

typedef Mark { unsigned epoch : 4, lease : 4, seq : 3, safe : 3, have : 4; byte chain };

Host h[2];
Mark m, backup;             /* the ledger; its newest verified backup */
unsigned sold : 2;          /* event ids given out */
unsigned destroyed : 4;     /* events on a disk that was rolled back: no protocol can bring them */
unsigned minted : 4;        /* highest lease of all generations */
unsigned disasters : 2;
bit holder;                 /* whose HELLO was answered last */
bit backed, cloned, rolled, restored;

/* What the network holds back. A message is taken at once, or held back instead of
   the one before; then it comes later, again and again, or never.
     hello: epoch, 0, seq spoken of, journal, head, tail - 1
     frame: epoch, lease, first, chain at last, last, 0
     ack:   epoch, lease, merged, chain there, safe, 0 */
typedef Message { bit host; unsigned kind : 2, epoch : 4, lease : 4, seq : 3, x : 3, y : 3; byte chain };
Message late;
#define HELLO 1
#define FRAME 2
#define ACK   3

#define hold(what) \
	late.kind = what; late.host = a; late.epoch = e; late.lease = l; late.seq = s; late.chain = c; late.x = x; late.y = y
#define recall \
	a = late.host; e = late.epoch; l = late.lease; s = late.seq; c = late.chain; x = late.x; y = late.y
#define forget a = 0; e = 0; l = 0; s = 0; c = 0; x = 0; y = 0

#define HOLDS(w, i) (h[w].gone < 1 && h[w].head >= 1 && RECORD(h[w].journal, 1) == i || \
	h[w].gone < 2 && h[w].head >= 2 && RECORD(h[w].journal, 2) == i || \
	h[w].gone < 3 && h[w].head >= 3 && RECORD(h[w].journal, 3) == i)
#define KEPT(i) (sold < i || ((m.have | destroyed) & BIT(i)) || HOLDS(0, i) || HOLDS(1, i))

/* An event that was answered 201 is in the ledger or in a journal. */
inline nothingLost() { assert(KEPT(1) && KEPT(2) && KEPT(3)) }

#define IN(w, k) (h[w].merged < k || h[w].gone >= k || (m.have & BIT(RECORD(h[w].journal, k))))
#define CURRENT(w) (h[w].phase == SENDING && h[w].lease == m.lease && h[w].epoch == m.epoch)

/* What the agent of the current session takes for merged is merged. */
inline believedIsTrue() {
	assert(!CURRENT(0) || (IN(0, 1) && IN(0, 2) && IN(0, 3)));
	assert(!CURRENT(1) || (IN(1, 1) && IN(1, 2) && IN(1, 3)))
}

#ifdef NO_CHAIN
#define DIFFERS (s > h[a].head)
#else
#define DIFFERS (s > h[a].head || s < h[a].gone || UPTO(h[a].journal, s) != c)
#endif

/* agent/link/session_core.go: welcome. A late one is followed, too: the agent
   knows most of them by boot id and lease, and need not. */
inline follow() {
	if
	:: h[a].phase != GREETING -> skip
	:: h[a].phase == GREETING && DIFFERS -> h[a].phase = GREETING; h[a].at = s
	:: h[a].phase == GREETING && !DIFFERS ->
		h[a].phase = SENDING; h[a].epoch = e; h[a].lease = l; h[a].merged = s;
		h[a].safe = (x > s -> s : x)
	fi
}

#define rebase(n) m.epoch = (n); m.seq = y; m.chain = UPTO(c, y); m.safe = y

/* aggregator/ingest/session_core.go: greet. HELLO is in a, e, s, c, x (head), y (tail - 1). */
inline greet() {
	if
	:: m.epoch == 0 -> rebase(1)
	:: else ->
		if
		:: e == 0 && m.seq <= x && m.seq >= y -> skip
		:: !(e == 0 && m.seq <= x && m.seq >= y) && e != m.epoch -> rebase((e > m.epoch -> e : m.epoch) + 1)
		:: e == m.epoch && (m.seq > x || m.seq < y) -> rebase(m.epoch + 1)
#ifndef NO_CHAIN
		:: e == m.epoch && m.seq <= x && m.seq >= y && s == m.seq && UPTO(c, s) != m.chain -> rebase(m.epoch + 1)
		:: e == m.epoch && m.seq <= x && m.seq >= y && !(s == m.seq && UPTO(c, s) != m.chain) -> skip
#else
		:: e == m.epoch && m.seq <= x && m.seq >= y -> skip
#endif
		fi
	fi;
	minted++; m.lease = minted;
	holder = a;
	e = m.epoch; l = m.lease; s = m.seq; c = m.chain; x = m.safe;
	if
	:: follow()
	:: skip
	fi
}

#define apply(k) \
	if \
	:: s <= k && k <= x && k > m.seq -> DOUBLED(k); m.have = m.have | BIT(RECORD(c, k)) \
	:: else \
	fi
#ifdef NO_EVENT_DEDUPE
#define DOUBLED(k) assert(!(m.have & BIT(RECORD(c, k))))
#else
#define DOUBLED(k) skip
#endif

#ifdef ACK_UNCHECKED
#define BELIEVED (h[a].phase == SENDING)
#else
#define BELIEVED (h[a].phase == SENDING && e == h[a].epoch && l == h[a].lease && s <= h[a].head && \
	s >= h[a].merged && UPTO(h[a].journal, s) == c)
#endif

/* agent/link/answer_core.go: believe. ACK is in e, l, s, c, x (safe). */
inline believe() {
	if
	:: BELIEVED ->
		h[a].merged = s;
		if
		:: x > h[a].safe -> h[a].safe = (x > s -> s : x)
		:: else
		fi
	:: else
	fi
}

/* An ACK is what the ledger says now. */
inline answer() {
	e = m.epoch; l = m.lease; s = m.seq; c = m.chain; x = m.safe;
	if
	:: believe()
	:: hold(ACK)
	:: skip
	fi
}

/* One transaction of merge: records s..x of chain c. */
inline merge() { apply(1); apply(2); apply(3); m.seq = x; m.chain = c }

#ifdef STALE_LEASE
#define SUPERSEDED 0
#else
#define SUPERSEDED (e != m.epoch || l != m.lease)
#endif
#ifdef GAP_ACCEPTED
#define GAP 0
#else
#define GAP (s > m.seq + 1)
#endif
#ifdef NO_CHAIN
#define FORKED 0
#else
#define FORKED (s <= m.seq + 1 && UPTO(c, m.seq) != m.chain)
#endif

/* aggregator/ingest/session_core.go: judge, take. FRAME is in a, e, l, s (first), c, x (last). */
inline judge() {
	if
	:: SUPERSEDED || GAP || m.lease == 0 -> skip
	:: else ->
		if
		:: x <= m.seq -> answer()
		:: x > m.seq && FORKED -> skip
		:: x > m.seq && !FORKED ->
			assert(a == holder); /* nothing of a session that another one ended */
#ifdef ACK_BEFORE_COMMIT
			e = m.epoch; l = m.lease; s = x; x = m.safe;
			believe() /* and crash before the commit */
#else
			merge();
			answer()
#endif
		fi
	fi
}

#define SPOKEN (h[a].at == MERGED -> h[a].merged : (h[a].at > h[a].head -> h[a].head : h[a].at))

inline sell() {
	sold++;
	h[a].journal = UPTO(h[a].journal, h[a].head) | (sold << (2 * h[a].head));
	h[a].head++
}

inline sayHello() {
	e = h[a].epoch; s = SPOKEN; c = h[a].journal; x = h[a].head; y = h[a].gone;
	h[a].phase = GREETING; h[a].at = MERGED; h[a].lease = 0;
	if
	:: greet()
	:: hold(HELLO)
	fi
}

/* Of one record, or of all the rest. */
inline sendFrame() {
	select (s : h[a].merged + 1 .. h[a].head);
	if
	:: x = s
	:: s < h[a].head -> x = h[a].head
	fi;
	e = h[a].epoch; l = h[a].lease; c = UPTO(h[a].journal, x);
#ifdef CURSOR_ON_PUBACK
	h[a].merged = x;
#endif
	if
	:: judge()
	:: hold(FRAME)
	fi
}

/* The disk of host 0 is again what it was when it had x records: what it believed
   then, it believes now. */
inline rollBack() {
	if
	:: x < 1 && h[0].head >= 1 -> destroyed = destroyed | BIT(RECORD(h[0].journal, 1))
	:: else
	fi;
	if
	:: x < 2 && h[0].head >= 2 -> destroyed = destroyed | BIT(RECORD(h[0].journal, 2))
	:: else
	fi;
	if
	:: x < 3 && h[0].head >= 3 -> destroyed = destroyed | BIT(RECORD(h[0].journal, 3))
	:: else
	fi;
	h[0].head = x; h[0].journal = UPTO(h[0].journal, x);
	h[0].merged = (h[0].merged > x -> x : h[0].merged); h[0].safe = (h[0].safe > x -> x : h[0].safe);
	h[0].phase = GREETING; h[0].lease = 0; h[0].at = MERGED
}

init {
	bit a;
	byte e, l, s, c, x, y; /* of the message at hand */
	d_step { h[0].at = MERGED; h[1].at = MERGED }

end:	do /* it may stop anywhere: only what is safe is asked */
	/* a till: the document is on disk, 201 */
	:: atomic { sold < EVENTS && h[0].head < 3 -> sell(); forget }
	:: atomic { cloned && sold < EVENTS && h[1].head < 3 -> a = 1; sell(); forget }

	/* HELLO: after a start, a lost line, a time-out, a refusal */
	:: atomic { minted < LEASES -> sayHello(); forget }
	:: atomic { minted < LEASES && cloned -> a = 1; sayHello(); forget }

	/* a frame of the window; again after any time-out or NACK */
	:: atomic { h[0].phase == SENDING && h[0].merged < h[0].head -> sendFrame(); believedIsTrue(); forget }
	:: atomic { h[1].phase == SENDING && h[1].merged < h[1].head -> a = 1; sendFrame(); believedIsTrue(); forget }

	/* what was held back comes */
	:: atomic { late.kind == HELLO && minted < LEASES -> recall; greet(); believedIsTrue(); forget }
	:: atomic { late.kind == FRAME -> recall; judge(); believedIsTrue(); forget }
	:: atomic { late.kind == ACK -> recall; believe(); believedIsTrue(); forget }

	/* trimming */
#ifdef TRIM_AT_MERGED
	:: atomic { h[0].gone < h[0].merged -> h[0].gone = h[0].merged; nothingLost() }
#else
	:: atomic { h[0].gone < h[0].safe -> h[0].gone = h[0].safe; nothingLost() }
#endif

	/* a backup is verified: what it holds is safe */
	:: atomic { m.epoch > 0 && (m.seq > m.safe || !backed) -> m.safe = m.seq; backed = 1;
#ifdef LEASE_REUSED
		backup.lease = minted;
#endif
		backup.epoch = m.epoch; backup.seq = m.seq; backup.chain = m.chain; backup.have = m.have }

	/* the ledger is restored; no session outlives it */
	:: atomic { backed && !restored && disasters < DISASTERS -> restored = 1; disasters++;
#ifdef LEASE_REUSED
		minted = backup.lease;
#endif
		m.epoch = backup.epoch; m.lease = 0; m.seq = backup.seq; m.chain = backup.chain; m.safe = backup.seq; m.have = backup.have;
		nothingLost() }

	/* the host is copied, process and all that it knew excepted */
	:: atomic { !cloned && disasters < DISASTERS -> cloned = 1; disasters++;
		h[1].journal = h[0].journal; h[1].head = h[0].head; h[1].gone = h[0].gone;
		h[1].epoch = h[0].epoch; h[1].merged = h[0].merged; h[1].safe = h[0].safe }

	/* the disk goes back to an older image */
	:: atomic { !rolled && disasters < DISASTERS && h[0].head > h[0].gone -> rolled = 1; disasters++;
		select (x : h[0].gone .. h[0].head - 1);
		rollBack(); forget }
	od
}
