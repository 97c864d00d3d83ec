package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"github.com/spf13/cobra"
)

func echoCommand() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "echo [--listen ADDRESS]",
		Short: "Run a WebSocket upstream that sends every message back, to try the proxy with",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "echo listens on ws://%s\n", l.Addr())
			return echo(ctx, l)
		},
	}
	c.Flags().StringVarP(&listen, "listen", "l", "127.0.0.1:9000", "`ADDRESS` to accept clients on")
	return c
}

// echoLimit bounds a message, in bytes.
const echoLimit = 64 << 20

func echo(ctx context.Context, l net.Listener) error {
	upgrader := websocket.Upgrader{EnableCompression: true, CheckOrigin: func(*http.Request) bool { return true }}
	s := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !websocket.IsWebSocketUpgrade(r) {
			fmt.Fprintln(w, "this upstream echoes WebSocket messages")
			return
		}
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // gorilla has answered
		}
		defer c.Close()
		c.SetReadLimit(echoLimit)
		for {
			kind, message, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, message) != nil {
				return
			}
		}
	})}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
