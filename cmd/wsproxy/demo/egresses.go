package demo

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// Egress is an egress proxy of the demo.
type Egress struct {
	Name        string
	URL         string
	Credentials string // file with user:password
}

const (
	corpName = "corp-http"
	sockName = "corp-socks"
	userName = "demo"
)

// credentials are what both proxies want. The password is random: nobody else on the machine has it.
func (c *Cast) credentials() string { return userName + ":" + c.password }

func (c *Cast) startEgresses() error {
	c.password = rand.Text()
	file := filepath.Join(c.Folder, "credentials")
	if err := os.WriteFile(file, []byte(c.credentials()), 0o600); err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	corp, err := c.startEgress(c.connectProxy)
	if err != nil {
		return err
	}
	socks, err := c.startEgress(c.socksProxy)
	if err != nil {
		return err
	}
	c.Egresses = []Egress{
		{Name: corpName, URL: "http://" + named(proxyName, corp), Credentials: file},
		{Name: sockName, URL: "socks5://" + socks, Credentials: file},
	}
	return nil
}

func (c *Cast) startEgress(handle func(*guest)) (string, error) {
	d, err := c.open()
	if err != nil {
		return "", err
	}
	c.serve(d, handle)
	return d.Addr().String(), nil
}

// named is the address with a name for its host.
func named(name, address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		panic(err) // the address of a socket
	}
	return net.JoinHostPort(name, port)
}
