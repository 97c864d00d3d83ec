// Command reverseproxy is net/http/httputil's ReverseProxy with nothing around it: what a WebSocket proxy
// in Go costs that is written in an afternoon.
package main

import (
	"errors"
	"flag"
	"log"
	"net/http"
	"net/http/httputil"
	"net/http/pprof"
	"net/url"
	"time"
)

func main() {
	plain := flag.String("plain", "", "`ADDRESS` for ws")
	secure := flag.String("tls", "", "`ADDRESS` for wss")
	admin := flag.String("admin", "", "`ADDRESS` for profiles")
	cert := flag.String("cert", "", "certificate `FILE`")
	key := flag.String("key", "", "key `FILE`")
	upstream := flag.String("upstream", "", "`ADDRESS` of the upstream")
	flag.Parse()

	target := &url.URL{Scheme: "http", Host: *upstream}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.SetXForwarded()
		r.Out.Host = r.In.Host
	}}
	profiles := http.NewServeMux()
	profiles.HandleFunc("/debug/pprof/", pprof.Index)
	profiles.HandleFunc("/debug/pprof/profile", pprof.Profile)

	ended := make(chan error)
	go func() { ended <- server(*plain, proxy).ListenAndServe() }()
	go func() { ended <- server(*secure, proxy).ListenAndServeTLS(*cert, *key) }()
	go func() { ended <- server(*admin, profiles).ListenAndServe() }()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

func server(address string, h http.Handler) *http.Server {
	return &http.Server{Addr: address, Handler: h, ReadHeaderTimeout: 10 * time.Second}
}
