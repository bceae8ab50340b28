package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"tillwire/store/journal"
)

// Bounds of the doctor's patience, and what it calls unwell.
const (
	doctorStepMax    = 5 * time.Second // of one look at the network
	clockWarn        = 30 * time.Second
	clockFail        = 5 * time.Minute // certificates and the order of counts are in doubt
	certificateWarn  = 14 * 24 * time.Hour
	syncWarn         = 100 * time.Millisecond // median of writing a page through to the disk
	syncProbes       = 15
	diskNeedMiB      = 512
	syncProbePattern = ".doctor-*"
)

// DoctorReport is what a look at everything around the agent found.
type DoctorReport struct {
	Config  string      `json:"config"`
	Running bool        `json:"running"`
	Items   []CheckItem `json:"items"`
}

// Failed tells whether a person must act.
func (r *DoctorReport) Failed() bool {
	return slices.ContainsFunc(r.Items, func(i CheckItem) bool { return i.Result == CheckFailed })
}

// Add notes one finding; a remedy is for what is not ok.
func (r *DoctorReport) Add(what, result, remedy, detail string, args ...any) {
	r.Items = append(r.Items, newItem(what, result, remedy, detail, args...))
}

// DoctorHints are what only the caller knows.
type DoctorHints struct {
	ConfigPath    string
	User          string // of the service; "" where the platform has none
	ClockOffsetMS *int64 // as the running agent heard it; nil: not known
}

// Doctor looks at what an agent needs around it, in the order in which things
// fail: the way to the aggregator, the clock, the port, the disk, who may read
// what, and who else reads along. It changes nothing, but for a page that it
// writes and removes to time the disk.
func Doctor(ctx context.Context, c Config, h DoctorHints) *DoctorReport {
	r := &DoctorReport{Config: h.ConfigPath, Running: journal.InUse(filepath.Join(c.DataDir, JournalFile))}
	r.network(ctx, &c)
	r.clock(h.ClockOffsetMS)
	r.port(ctx, &c)
	r.disk(&c)
	r.permissions(&c, h)
	r.scanners(&c)
	return r
}

// network follows the way up: name, port, TLS.
func (r *DoctorReport) network(ctx context.Context, c *Config) {
	if c.Link.Broker == "" {
		r.Add("broker", CheckWarning, "set link.broker in agent.toml, or enrol with `tillwire-agent enroll`", "none is named: the agent journals and sends nothing")
		return
	}
	if c.Link.Token == "" && !c.Dev {
		r.Add("enrolment", CheckFailed, "get a one-off token from central operations and call `tillwire-agent enroll`", "link.token is empty: the aggregator will refuse this agent")
	} else {
		r.Add("enrolment", CheckOK, "", "%s/%s has a credential", c.Store, c.Agent)
	}
	u, err := url.Parse(c.Link.Broker)
	if err != nil {
		r.Add("broker", CheckFailed, "write link.broker as mqtts://host:port", "%v", err)
		return
	}
	if !r.resolve(ctx, u.Hostname()) {
		return
	}
	conn := r.dial(ctx, u.Host)
	if conn == nil {
		return
	}
	defer func() { _ = conn.Close() }()
	if u.Scheme != "mqtts" {
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip.IsLoopback() {
			r.Add("tls", CheckOK, "", "not used, the broker is this machine")
			return
		}
		r.Add("tls", CheckWarning, "give the aggregator a certificate and use mqtts://", "not used: sales and credential travel in the clear")
		return
	}
	r.tls(ctx, c, conn, u.Hostname())
}

func (r *DoctorReport) resolve(ctx context.Context, host string) bool {
	if net.ParseIP(host) != nil {
		r.Add("name", CheckOK, "", "%s is an address", host)
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, doctorStepMax)
	defer cancel()
	began := time.Now()
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	var dns *net.DNSError
	switch {
	case err == nil:
		r.Add("name", CheckOK, "", "%s is %s (%d ms)", host, strings.Join(addrs, ", "), time.Since(began).Milliseconds())
		return true
	case errors.As(err, &dns) && dns.IsNotFound:
		r.Add("name", CheckFailed, "compare link.broker with what central operations gave you; if it is right, the shop's DNS server does not know the name", "no such host: %s", host)
	default:
		r.Add("name", CheckFailed, "look at the network cable, the router, and the DNS servers of this machine", "%s: %v", host, err)
	}
	return false
}

func (r *DoctorReport) dial(ctx context.Context, addr string) net.Conn {
	ctx, cancel := context.WithTimeout(ctx, doctorStepMax)
	defer cancel()
	began := time.Now()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	switch {
	case err == nil:
		r.Add("way", CheckOK, "", "%s answers (%d ms)", addr, time.Since(began).Milliseconds())
	case errors.Is(err, syscall.ECONNREFUSED) || isRefused(err):
		r.Add("way", CheckFailed, "the machine is there, but no broker on that port: compare link.broker's port, and ask central operations whether the aggregator runs", "%s refuses", addr)
	default:
		r.Add("way", CheckFailed, "a firewall drops it, or the line is down: TCP out to this address and port must be open from this machine", "%s does not answer: %v", addr, err)
	}
	return conn
}

func (r *DoctorReport) tls(ctx context.Context, c *Config, conn net.Conn, host string) {
	settings, err := (&Agent{cfg: *c}).tlsConfig()
	if err != nil {
		r.Add("tls", CheckFailed, "name a readable PEM file in link.ca_file, or leave it out", "%v", err)
		return
	}
	settings.ServerName = host
	ctx, cancel := context.WithTimeout(ctx, doctorStepMax)
	defer cancel()
	t := tls.Client(conn, settings)
	err = t.HandshakeContext(ctx)
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		cert := t.ConnectionState().PeerCertificates[0]
		left := time.Until(cert.NotAfter)
		result, remedy := CheckOK, ""
		if left < certificateWarn {
			result, remedy = CheckWarning, "tell central operations to renew the aggregator's certificate"
		}
		r.Add("tls", result, remedy, "%s, certificate of %s, good for %d days", tls.VersionName(t.ConnectionState().Version), cert.Issuer, int(left.Hours()/24))
	case errors.As(err, &unknown):
		r.Add("tls", CheckFailed, "put the chain's authority into a PEM file and name it in link.ca_file; a firewall that opens TLS shows here too", "%v", err)
	case errors.As(err, &name):
		r.Add("tls", CheckFailed, "use the name that the certificate has in link.broker", "%v", err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		r.Add("tls", CheckFailed, "look at this machine's clock first; if it is right, central operations must renew the certificate", "%v", err)
	default:
		r.Add("tls", CheckFailed, "the port answers but does not speak TLS 1.3: compare link.broker's port with what central operations gave you, and look for a firewall that opens TLS", "%v", err)
	}
}

func (r *DoctorReport) clock(offsetMS *int64) {
	if offsetMS == nil {
		result, remedy := CheckWarning, "start the agent and look again once it is connected; have this machine take its time from the network (timedatectl set-ntp true, w32tm /resync)"
		if time.Now().Year() < 2025 {
			result = CheckFailed
		}
		r.Add("clock", result, remedy, "%s here; nothing to compare it with", time.Now().Format(time.RFC3339))
		return
	}
	off := (time.Duration(*offsetMS) * time.Millisecond).Abs()
	result := CheckOK
	switch {
	case off >= clockFail:
		result = CheckFailed
	case off >= clockWarn:
		result = CheckWarning
	}
	side := "behind"
	if *offsetMS < 0 {
		side = "ahead of"
	}
	r.Add("clock", result, "set this machine's clock, and have it take its time from the network (timedatectl set-ntp true, w32tm /resync)", "%v %s the aggregator", off.Round(time.Millisecond), side)
}

// port asks whether the tills can reach the agent, or would.
func (r *DoctorReport) port(ctx context.Context, c *Config) {
	if r.Running {
		ctx, cancel := context.WithTimeout(ctx, doctorStepMax)
		defer cancel()
		host, port, err := net.SplitHostPort(c.HTTP.Listen)
		if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
			host = "127.0.0.1"
		}
		if port == "0" {
			r.Add("port", CheckOK, "", "picked by the agent; addresses.json has it")
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		if err != nil {
			r.Add("port", CheckFailed, "restart the agent; was http.listen changed since it started?", "an agent runs, but not on %s: %v", c.HTTP.Listen, err)
			return
		}
		_ = conn.Close()
		r.Add("port", CheckOK, "", "the agent answers on %s", c.HTTP.Listen)
		return
	}
	ln, err := net.Listen("tcp", c.HTTP.Listen)
	if err != nil {
		r.Add("port", CheckFailed, "find who has it (ss -ltnp, or netstat -ano) and stop that, or set another http.listen and tell the tills", "%v", err)
		return
	}
	_ = ln.Close()
	r.Add("port", CheckOK, "", "%s is free; start the agent", c.HTTP.Listen)
}

// disk looks at room, and at how long the disk takes to keep a page: each sale
// waits for that.
func (r *DoctorReport) disk(c *Config) {
	free, total, err := journal.DiskFree(c.DataDir)
	if err != nil || total == 0 {
		r.Add("disk", CheckFailed, "the agent makes the folder when it starts; where it runs, look whether the disk is still there", "%s: %v", c.DataDir, err)
		return
	}
	r.Items = append(r.Items, volumeItem(free, total))
	if free>>20 < diskNeedMiB {
		r.Add("disk room", CheckWarning, "make room: a day of sales without a link must fit", "%d MiB free, less than %d", free>>20, diskNeedMiB)
	}
	median, err := timeSync(c.DataDir)
	switch {
	case errors.Is(err, os.ErrPermission):
		r.Add("disk speed", CheckWarning, "call this as root or administrator to have it measured", "not measured: %v", err)
	case err != nil:
		r.Add("disk speed", CheckFailed, "the journal could not write either: look at the disk", "%v", err)
	case median > syncWarn:
		r.Add("disk speed", CheckWarning, "a failing or shared disk, or a scanner that reads along: each sale waits this long", "%.1f ms to keep a page", float64(median.Microseconds())/1000)
	default:
		r.Add("disk speed", CheckOK, "", "%.1f ms to keep a page", float64(median.Microseconds())/1000)
	}
}

func timeSync(dir string) (median time.Duration, err error) {
	f, err := os.CreateTemp(dir, syncProbePattern)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	took, page := make([]time.Duration, syncProbes), make([]byte, 4096)
	for i := range took {
		began := time.Now()
		if _, err := f.WriteAt(page, int64(i)*4096); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[syncProbes/2], nil
}

func newItem(what, result, remedy, detail string, args ...any) CheckItem {
	if result == CheckOK {
		remedy = ""
	}
	return CheckItem{What: what, Result: result, Detail: fmt.Sprintf(detail, args...), Remedy: remedy}
}
