//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"wsproxy/bench/proc"
	"wsproxy/bench/server"
)

// countersFD is where the server's process finds the page with its counters.
const countersFD = 3

// addresses are where a server listens.
type addresses struct{ Plain, TLS string }

// serveEnds is the process of the server. It says where it listens and serves until its input ends.
func serveEnds(cert, key string, in io.Reader, out io.Writer) error {
	counters, err := mapCounters(countersFD)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return err
	}
	listen := net.ListenConfig{KeepAlive: -1} // which would be four system calls for each connection
	plain, err := listen.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	secure, err := listen.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &server.Server{Counters: counters}
	go s.Serve(plain)
	go s.ServeTLS(secure, &tls.Config{Certificates: []tls.Certificate{pair}})
	if err := json.NewEncoder(out).Encode(addresses{plain.Addr().String(), secure.Addr().String()}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

// mapCounters maps counters that another process can see.
func mapCounters(fd int) (*server.Counters, error) {
	page, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map counters: %w", err)
	}
	return (*server.Counters)(unsafe.Pointer(&page[0])), nil
}

// ends is the server's process, seen from outside.
type ends struct {
	addresses
	counters *server.Counters
	page     *os.File
	cmd      *exec.Cmd
	in       io.Closer
}

// startEnds starts the server on a core, with as many Ps.
func startEnds(ctx context.Context, core, procs int, cert, key string) (*ends, error) {
	fd, err := unix.MemfdCreate("counters", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("counters: %w", err)
	}
	e := &ends{page: os.NewFile(uintptr(fd), "counters")}
	if err := e.start(ctx, core, procs, cert, key); err != nil {
		e.page.Close()
		return nil, err
	}
	return e, nil
}

func (e *ends) start(ctx context.Context, core, procs int, cert, key string) error {
	if err := e.page.Truncate(int64(os.Getpagesize())); err != nil {
		return err
	}
	var err error
	if e.counters, err = mapCounters(int(e.page.Fd())); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	e.cmd = exec.CommandContext(ctx, self, "ends", "-cert", cert, "-key", key)
	e.cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(procs))
	e.cmd.Stderr = os.Stderr
	e.cmd.ExtraFiles = []*os.File{e.page}
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if e.in, err = e.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := proc.StartOn(core, e.cmd); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &e.addresses)
	}
	if err != nil {
		e.stop()
		return fmt.Errorf("start the server: %w", err)
	}
	return nil
}

func (e *ends) pid() int { return e.cmd.Process.Pid }

// stop ends the server, at once: whoever was to be told something was told.
func (e *ends) stop() error {
	e.in.Close()
	err := e.cmd.Process.Kill()
	e.cmd.Wait()
	page := unsafe.Slice((*byte)(unsafe.Pointer(e.counters)), os.Getpagesize())
	return errors.Join(err, unix.Munmap(page), e.page.Close())
}
