package access

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"wsproxy/lifecycle"
)

func rules(t testing.TB, allow, deny []string) *Rules {
	t.Helper()
	r, err := ParseRules(allow, deny)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// want is "" for allowed, else a part of the error; the reason must be as given.
func checkRule(t *testing.T, err error, want string, reason lifecycle.Reason) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("got %v, want it allowed", err)
		}
		return
	}
	f, ok := errors.AsType[*lifecycle.Failure](err)
	if !ok || f.Reason != reason || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s with %q", err, reason, want)
	}
}

func TestRulesOfNames(t *testing.T) {
	cases := map[string]struct {
		allow, deny []string
		host        string
		port        uint16 // 0: 443
		want        string
	}{
		"no rules":                            {host: "example.com"},
		"no rules, port 80":                   {host: "example.com", port: 80},
		"no rules, another port":              {host: "example.com", port: 8443, want: "80 and 443"},
		"no rules, public address":            {host: "1.1.1.1"},
		"no rules, loopback":                  {host: "127.0.0.1", want: "127.0.0.0/8"},
		"no rules, loopback, IPv6":            {host: "::1", want: "::1/128"},
		"no rules, loopback, mapped":          {host: "::ffff:127.0.0.1", want: "127.0.0.0/8"},
		"no rules, loopback, mapped in hex":   {host: "::ffff:7f00:1", want: "127.0.0.0/8"},
		"no rules, loopback, with a zone":     {host: "::1%lo", want: "::1/128"},
		"no rules, metadata":                  {host: "169.254.169.254", want: "169.254.169.254/32"},
		"decimal address":                     {host: "2130706433", want: "neither a name"},
		"decimal address, everything allowed": {allow: []string{"*"}, host: "2130706433", want: "neither a name"},
		"octal address":                       {host: "0177.0.0.1", want: "neither a name"},
		"leading zeros":                       {host: "127.000.000.001", want: "neither a name"},
		"hexadecimal address":                 {host: "0x7f000001", want: "neither a name"},
		"hexadecimal parts":                   {host: "0x7f.0x0.0x0.0x1", want: "neither a name"},
		"short address":                       {host: "127.1", want: "neither a name"},
		"address and a final dot":             {host: "127.0.0.1.", want: "neither a name"},
		"0x alone":                            {host: "a.0x", want: "neither a name"},
		"full-width address":                  {host: "１２７.０.０.１", want: "neither a name"},
		"address with ideographic dots":       {host: "127。0。0。1", want: "neither a name"},
		"address with circled digits":         {host: "①②⑦.0.0.1", want: "neither a name"},
		"a label of digits in front":          {host: "127.example.com"},
		"a label like hexadecimal":            {host: "a.0xyz"},
		"empty":                               {want: "no name"},
		"a dot":                               {host: ".", want: "no name"},
		"an empty label":                      {host: "a..b", want: "no name"},
		"a space":                             {host: "a b", want: "no name"},
		"a line end":                          {host: "a.test\r\nX: y", want: "no name"},
		"a NUL":                               {host: "a.test\x00.b", want: "no name"},
		"a slash":                             {host: "a.test/b", want: "no name"},
		"a user":                              {host: "me@a.test", want: "no name"},
		"brackets":                            {host: "[::1]", want: "no name"},
		"a long label":                        {host: strings.Repeat("a", 64) + ".test", want: "no name"},
		"a long name":                         {host: strings.Repeat("a.", 127) + "test", want: "no name"},
		"listed":                              {allow: []string{"a.test"}, host: "a.test", port: 9},
		"listed, capitals, final dot":         {allow: []string{"A.Test."}, host: "a.TEST."},
		"listed, another":                     {allow: []string{"a.test"}, host: "b.test", want: "no rule"},
		"listed, under it":                    {allow: []string{"a.test"}, host: "x.a.test", want: "no rule"},
		"listed, port":                        {allow: []string{"a.test:8443"}, host: "a.test", port: 8443},
		"listed, another port":                {allow: []string{"a.test:8443"}, host: "a.test", want: "no rule"},
		"pattern":                             {allow: []string{"*.a.test:443"}, host: "x.y.a.test"},
		"pattern, the domain itself":          {allow: []string{"*.a.test"}, host: "a.test", want: "no rule"},
		"pattern, ends like it":               {allow: []string{"*.a.test"}, host: "xa.test", want: "no rule"},
		"everything":                          {allow: []string{"*"}, host: "a.test", port: 22},
		"everything, a literal":               {allow: []string{"*"}, host: "1.1.1.1", port: 22},
		"everything, a private literal":       {allow: []string{"*"}, host: "10.0.0.1", want: "10.0.0.0/8"},
		"IDNA, listed in Unicode":             {allow: []string{"bücher.test"}, host: "xn--bcher-kva.test"},
		"IDNA, asked for in Unicode":          {allow: []string{"xn--bcher-kva.test"}, host: "BÜCHER.test"},
		"only networks, might be in one":      {allow: []string{"10.0.0.0/8:80"}, host: "a.test", port: 80},
		"only networks, another port":         {allow: []string{"10.0.0.0/8:80"}, host: "a.test", want: "no rule"},
		"denied":                              {deny: []string{"a.test"}, host: "a.test", want: "denied by a.test"},
		"denied, another port":                {deny: []string{"a.test:80"}, host: "a.test"},
		"denied pattern, allowed name":        {allow: []string{"x.a.test"}, deny: []string{"*.a.test"}, host: "x.a.test", want: "denied by *.a.test"},
		"denied, everything":                  {allow: []string{"a.test"}, deny: []string{"*"}, host: "a.test", want: "denied by *"},
		"denied, spelt otherwise":             {deny: []string{"a.test"}, host: "A.tesT.", want: "denied"},
		"denied address":                      {deny: []string{"1.1.1.1"}, host: "::ffff:1.1.1.1", want: "denied"},
		"long nonsense is cut":                {host: strings.Repeat("?", 500), want: "…"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			port := c.port
			if port == 0 {
				port = 443
			}
			checkRule(t, rules(t, c.allow, c.deny).Name(c.host, port), c.want, lifecycle.ReasonForbidden)
		})
	}
}

func TestRulesOfAddresses(t *testing.T) {
	cases := map[string]struct {
		allow, deny []string
		host        string // empty: a.test
		addr        string
		want        string
	}{
		"no rules":                       {addr: "1.1.1.1:443"},
		"no rules, IPv6":                 {addr: "[2606:4700::1111]:80"},
		"no rules, another port":         {addr: "1.1.1.1:22", want: "80 and 443"},
		"loopback":                       {addr: "127.0.0.1:443", want: "127.0.0.0/8"},
		"loopback, another":              {addr: "127.255.0.9:443", want: "127.0.0.0/8"},
		"loopback, localhost listed":     {allow: []string{"localhost"}, host: "localhost", addr: "127.0.0.1:80", want: "127.0.0.0/8"},
		"private, name listed":           {allow: []string{"a.test", "*"}, addr: "10.1.2.3:443", want: "10.0.0.0/8"},
		"private, network listed":        {allow: []string{"10.1.0.0/16"}, addr: "10.1.2.3:443"},
		"private, address listed":        {allow: []string{"10.1.2.3"}, addr: "10.1.2.3:9"},
		"private, network with a port":   {allow: []string{"10.1.0.0/16:443"}, addr: "10.1.2.3:443"},
		"private, another port":          {allow: []string{"10.1.0.0/16:443"}, addr: "10.1.2.3:80", want: "10.0.0.0/8"},
		"private, another network":       {allow: []string{"10.1.0.0/16"}, addr: "10.2.2.3:443", want: "10.0.0.0/8"},
		"private, the whole internet":    {allow: []string{"0.0.0.0/0", "::/0"}, addr: "10.1.2.3:443", want: "10.0.0.0/8"},
		"public, the whole internet":     {allow: []string{"0.0.0.0/0"}, addr: "1.1.1.1:22"},
		"private, too wide a network":    {allow: []string{"8.0.0.0/5"}, addr: "10.1.2.3:443", want: "10.0.0.0/8"},
		"private, denied within":         {allow: []string{"10.0.0.0/8"}, deny: []string{"10.1.0.0/16"}, addr: "10.1.2.3:443", want: "denied by"},
		"private 172":                    {addr: "172.31.255.255:443", want: "172.16.0.0/12"},
		"public 172":                     {addr: "172.32.0.1:443"},
		"private 192":                    {addr: "192.168.0.1:443", want: "192.168.0.0/16"},
		"carrier-grade NAT":              {addr: "100.64.0.1:443", want: "100.64.0.0/10"},
		"unspecified":                    {addr: "0.0.0.0:443", want: "0.0.0.0/8"},
		"unspecified, IPv6":              {addr: "[::]:443", want: "::/128"},
		"broadcast":                      {addr: "255.255.255.255:443", want: "240.0.0.0/4"},
		"multicast":                      {addr: "224.0.0.1:443", want: "224.0.0.0/4"},
		"documentation":                  {addr: "203.0.113.1:443", want: "203.0.113.0/24"},
		"metadata":                       {addr: "169.254.169.254:80", want: "169.254.169.254/32"},
		"metadata, link-local listed":    {allow: []string{"169.254.0.0/16"}, addr: "169.254.169.254:80", want: "169.254.169.254/32"},
		"link-local listed":              {allow: []string{"169.254.0.0/16"}, addr: "169.254.1.1:80"},
		"metadata listed":                {allow: []string{"169.254.169.254"}, addr: "169.254.169.254:80"},
		"metadata, IPv6":                 {allow: []string{"fd00::/8"}, addr: "[fd00:ec2::254]:80", want: "fd00:ec2::254/128"},
		"Azure's host":                   {addr: "168.63.129.16:80", want: "168.63.129.16/32"},
		"link-local, IPv6":               {addr: "[fe80::1]:80", want: "fe80::/10"},
		"link-local, IPv6, zone":         {addr: "[fe80::1%eth0]:80", want: "fe80::/10"},
		"link-local, IPv6, zone, listed": {allow: []string{"fe80::/10"}, addr: "[fe80::1%eth0]:80"},
		"unique local":                   {addr: "[fd12::1]:80", want: "fc00::/7"},
		"unique local, listed":           {allow: []string{"[fd12::/16]:80"}, addr: "[fd12::1]:80"},
		"unassigned":                     {addr: "[4001::1]:80", want: "4000::/3"},
		"mapped loopback":                {addr: "[::ffff:127.0.0.1]:80", want: "127.0.0.0/8"},
		"mapped public":                  {addr: "[::ffff:1.1.1.1]:80"},
		"mapped, IPv4 network listed":    {allow: []string{"10.0.0.0/8"}, addr: "[::ffff:10.0.0.1]:80"},
		"mapped network listed":          {allow: []string{"::ffff:10.0.0.0/104"}, addr: "10.0.0.1:80"},
		"compatible loopback":            {addr: "[::127.0.0.1]:80", want: "::/96"},
		"translated loopback":            {addr: "[::ffff:0:127.0.0.1]:80", want: "::ffff:0:0:0/96"},
		"NAT64":                          {addr: "[64:ff9b::1.1.1.1]:80", want: "64:ff9b::/96"},
		"NAT64 listed, public":           {allow: []string{"64:ff9b::/96"}, addr: "[64:ff9b::1.1.1.1]:80"},
		"NAT64 listed, loopback":         {allow: []string{"64:ff9b::/96"}, addr: "[64:ff9b::127.0.0.1]:80", want: "127.0.0.0/8"},
		"NAT64 and private listed":       {allow: []string{"64:ff9b::/96", "10.0.0.0/8"}, addr: "[64:ff9b::10.0.0.1]:80"},
		"NAT64 listed, IPv4 denied":      {allow: []string{"64:ff9b::/96"}, deny: []string{"1.1.1.1"}, addr: "[64:ff9b::1.1.1.1]:80", want: "denied by 1.1.1.1"},
		"NAT64, local use":               {addr: "[64:ff9b:1::1.1.1.1]:80", want: "64:ff9b:1::/48"},
		"6to4":                           {addr: "[2002:0101:0101::1]:80", want: "2002::/16"},
		"6to4 listed, loopback":          {allow: []string{"2002::/16"}, addr: "[2002:7f00:1::1]:80", want: "127.0.0.0/8"},
		"Teredo":                         {addr: "[2001:0:101:101::1]:80", want: "2001::/32"},
		"Teredo listed, loopback":        {allow: []string{"2001::/32"}, addr: "[2001:0:101:101:0:0:80ff:fffe]:80", want: "127.0.0.0/8"},
		"ISATAP, private":                {addr: "[2606:4700::5efe:10.0.0.1]:80", want: "10.0.0.0/8"},
		"ISATAP, public":                 {addr: "[2606:4700::200:5efe:1.1.1.1]:80"},
		"name listed":                    {allow: []string{"*.test:443"}, addr: "1.1.1.1:443"},
		"name not listed":                {allow: []string{"b.test"}, addr: "1.1.1.1:443", want: "no rule"},
		"public network listed":          {allow: []string{"1.1.0.0/16"}, addr: "1.1.1.1:22"},
		"name denied":                    {allow: []string{"*"}, deny: []string{"a.test"}, addr: "1.1.1.1:443", want: "denied by a.test"},
		"network denied, name listed":    {allow: []string{"a.test"}, deny: []string{"1.0.0.0/8:443"}, addr: "1.1.1.1:443", want: "denied by 1.0.0.0/8:443"},
		"network denied, another port":   {deny: []string{"1.0.0.0/8:443"}, addr: "1.1.1.1:80"},
		"port 0":                         {allow: []string{"*"}, addr: "1.1.1.1:0", want: "port 0"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			host := c.host
			if host == "" {
				host = "a.test"
			}
			err := rules(t, c.allow, c.deny).Address(netip.MustParseAddrPort(c.addr), host)
			checkRule(t, err, c.want, lifecycle.ReasonAddressDenied)
		})
	}
}

// The zero value and an address that nobody knows must not let anything through by accident.
func TestRulesOfNothing(t *testing.T) {
	for _, r := range []*Rules{{}, rules(t, nil, nil)} {
		checkRule(t, r.Address(netip.MustParseAddrPort("127.0.0.1:80"), "a.test"), "127.0.0.0/8", lifecycle.ReasonAddressDenied)
		checkRule(t, r.Address(netip.MustParseAddrPort("1.1.1.1:80"), "a.test"), "", 0)
		checkRule(t, r.Address(netip.MustParseAddrPort("1.1.1.1:80"), ""), "no name", lifecycle.ReasonAddressDenied)
		checkRule(t, r.Address(netip.AddrPortFrom(netip.Addr{}, 80), "a.test"), "no address", lifecycle.ReasonAddressDenied)
	}
}

func TestParseRulesRefuses(t *testing.T) {
	for name, entry := range map[string]string{
		"empty":              "",
		"a star in a label":  "a*.test",
		"a star at the end":  "a.*",
		"two stars":          "*.*.test",
		"only a suffix":      ".a.test",
		"a URL":              "https://a.test",
		"a path":             "a.test/b",
		"no port":            "a.test:",
		"port 0":             "a.test:0",
		"a large port":       "a.test:65536",
		"a port in words":    "a.test:https",
		"a range of ports":   "a.test:1-9",
		"bits beyond":        "10.1.0.0/8",
		"too many bits":      "10.0.0.0/33",
		"half an address":    "10.0/8",
		"a zone":             "fe80::1%eth0",
		"a decimal address":  "2130706433",
		"an octal address":   "0177.0.0.1",
		"no closing bracket": "[::1:80",
		"a bracketed name":   "[a.test]:80",
		"behind the bracket": "[::1]80",
		"a space":            " a.test",
	} {
		t.Run(name, func(t *testing.T) {
			for list, parse := range map[string]func() (*Rules, error){
				"allow": func() (*Rules, error) { return ParseRules([]string{"good.test", entry}, nil) },
				"deny":  func() (*Rules, error) { return ParseRules(nil, []string{"good.test", entry}) },
			} {
				_, err := parse()
				if err == nil || !strings.Contains(err.Error(), `"`+entry+`"`) || !strings.HasPrefix(err.Error(), list+": ") {
					t.Errorf("%q: got %v, want an error of %s that quotes it", entry, err, list)
				}
			}
		})
	}
}
