package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

const (
	protocolGRPC = "grpc"
	protocolHTTP = "http/protobuf"
)

// collector is an OTLP block made ready for the exporters.
type collector struct {
	OTLP
	host string
	path string // before /v1/…
}

// collector parses the block's endpoint.
func (o OTLP) collector() (*collector, error) {
	c := &collector{OTLP: o, host: o.Endpoint}
	switch c.Protocol {
	case protocolGRPC, protocolHTTP:
	case "":
		c.Protocol = protocolHTTP
	default:
		return nil, fmt.Errorf("OTLP protocol %q is neither %s nor %s", o.Protocol, protocolGRPC, protocolHTTP)
	}
	if !strings.Contains(o.Endpoint, "://") {
		return c, nil
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("OTLP endpoint is not host:port, http://host:port or https://host:port") // it may hold a secret: not printed
	}
	c.host, c.path, c.Insecure = u.Host, strings.TrimSuffix(u.Path, "/"), u.Scheme == "http"
	return c, nil
}

func (c *collector) traces(ctx context.Context, a *attempts) (sdktrace.SpanExporter, error) {
	if c.Protocol == protocolGRPC {
		return newSpansExporter(ctx, otlptracegrpc.NewClient(append(options(c, "", otlptracegrpc.WithEndpoint, nil, otlptracegrpc.WithInsecure, func() otlptracegrpc.Option {
			return otlptracegrpc.WithTLSCredentials(credentials.NewTLS(c.TLS))
		}, otlptracegrpc.WithHeaders), otlptracegrpc.WithDialOption(a.dialOptions()...))...))
	}
	return newSpansExporter(ctx, otlptracehttp.NewClient(options(c, "/v1/traces", otlptracehttp.WithEndpoint, otlptracehttp.WithURLPath, otlptracehttp.WithInsecure,
		func() otlptracehttp.Option { return otlptracehttp.WithTLSClientConfig(c.TLS) }, otlptracehttp.WithHeaders)...))
}

func (c *collector) metrics(ctx context.Context, a *attempts) (sdkmetric.Exporter, error) {
	if c.Protocol == protocolGRPC {
		return otlpmetricgrpc.New(ctx, append(options(c, "", otlpmetricgrpc.WithEndpoint, nil, otlpmetricgrpc.WithInsecure, func() otlpmetricgrpc.Option {
			return otlpmetricgrpc.WithTLSCredentials(credentials.NewTLS(c.TLS))
		}, otlpmetricgrpc.WithHeaders), otlpmetricgrpc.WithDialOption(a.dialOptions()...))...)
	}
	return otlpmetrichttp.New(ctx, options(c, "/v1/metrics", otlpmetrichttp.WithEndpoint, otlpmetrichttp.WithURLPath, otlpmetrichttp.WithInsecure,
		func() otlpmetrichttp.Option { return otlpmetrichttp.WithTLSClientConfig(c.TLS) }, otlpmetrichttp.WithHeaders)...)
}

// logs makes the exporter of logs; tuned says that the environment has its say over HTTP, too.
func (c *collector) logs(ctx context.Context, a *attempts, tuned bool) (sdklog.Exporter, error) {
	if c.Protocol == protocolGRPC {
		return newLogsExporter(otlploggrpc.New(ctx, append(options(c, "", otlploggrpc.WithEndpoint, nil, otlploggrpc.WithInsecure, func() otlploggrpc.Option {
			return otlploggrpc.WithTLSCredentials(credentials.NewTLS(c.TLS))
		}, otlploggrpc.WithHeaders), otlploggrpc.WithDialOption(append(a.dialOptions(), grpc.WithUnaryInterceptor(instead))...))...))
	}
	opts := options(c, "/v1/logs", otlploghttp.WithEndpoint, otlploghttp.WithURLPath, otlploghttp.WithInsecure,
		func() otlploghttp.Option { return otlploghttp.WithTLSClientConfig(c.TLS) }, otlploghttp.WithHeaders)
	if tuned {
		return otlploghttp.New(ctx, opts...)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = c.TLS
	return newLogsExporter(otlploghttp.New(ctx, append(opts, otlploghttp.WithHTTPClient(&http.Client{Transport: insteadHTTP{transport}, Timeout: exportTimeout}))...))
}

// options makes one exporter's options: the six exporters have the same ones under six types.
func options[O any](c *collector, path string, endpoint, urlPath func(string) O, insecure, secure func() O, headers func(map[string]string) O) []O {
	list := []O{endpoint(c.host)}
	if urlPath != nil {
		list = append(list, urlPath(c.path+path))
	}
	switch {
	case c.Insecure:
		list = append(list, insecure())
	case c.TLS != nil:
		list = append(list, secure())
	}
	if len(c.Headers) > 0 {
		list = append(list, headers(c.Headers))
	}
	return list
}
