//go:build e2e

package e2e

import (
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The ends of a link.
const (
	nearAddress = "10.77.0.1"
	farAddress  = "10.77.0.2"
	linkDevice  = "link"
)

// link joins two networks of a test's own: what goes into the device at one end comes out at the other,
// later if the link is slow, never if it is cut. It does what tc's netem does, which not every kernel has.
type link struct {
	near, far *namespace
	delay     time.Duration // each way
	isCut     atomic.Bool
}

// newLink returns nil where the system does not allow it; when strict, the test fails.
func (h *house) newLink(t *testing.T, delay time.Duration) *link {
	t.Helper()
	l := &link{near: h.newNamespace(t), far: h.newNamespace(t), delay: delay}
	if l.near == nil || l.far == nil {
		return nil
	}
	near, far := l.near.device(t, nearAddress, farAddress), l.far.device(t, farAddress, nearAddress)
	var carriers sync.WaitGroup
	carriers.Go(func() { l.carry(near, far) })
	carriers.Go(func() { l.carry(far, near) })
	t.Cleanup(func() {
		near.Close()
		far.Close()
		carriers.Wait()
	})
	return l
}

// cut loses everything from now on. Nobody is told: no address is unreachable, no connection refused.
func (l *link) cut() { l.isCut.Store(true) }

func (l *link) mend() { l.isCut.Store(false) }

// device is one end of a link: packets that the namespace sends to the peer can be read from it.
func (n *namespace) device(t *testing.T, own, peer string) *os.File {
	t.Helper()
	var file *os.File
	err := n.do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq(linkDevice)
		if err == nil {
			request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			unix.Close(fd)
			return err
		}
		file = os.NewFile(uintptr(fd), linkDevice)
		return nil
	})
	if err != nil {
		withoutPrivilege(t, "no TUN device: "+err.Error())
	}
	n.set(t, "address", "add", own, "peer", peer, "dev", linkDevice)
	n.set(t, "link", "set", "dev", linkDevice, "up")
	return file
}

// packets is how many are under way each way at most; more are lost, as in any router.
const packets = 4096

// carry takes packets from one device to another until either is closed.
func (l *link) carry(from, to *os.File) {
	type packet struct {
		due  time.Time
		data []byte
	}
	underWay := make(chan packet, packets)
	var deliverer sync.WaitGroup
	deliverer.Go(func() {
		for p := range underWay {
			<-time.After(time.Until(p.due))
			to.Write(p.data) // a packet that can't be delivered is lost
		}
	})
	defer deliverer.Wait()
	defer close(underWay)
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if l.isCut.Load() {
			continue
		}
		select {
		case underWay <- packet{time.Now().Add(l.delay), append([]byte(nil), buf[:n]...)}:
		default:
		}
	}
}
