package admin

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// operation is what the OpenAPI document says of a request beyond its path and what it is about.
type operation struct {
	query  []string
	body   any // a value of the type that is read; nil: none
	answer any // a value of the type that is sent; nil: not JSON
	status int // of success; 0: 200
}

// operations tells of every request, by "METHOD /path". A test holds it to pages and changes.
func operations() map[string]operation {
	filter := []string{"route", "upstream", "phase", "client"}
	return map[string]operation{
		"GET /healthz":                  {answer: healthDocument{}},
		"GET /readyz":                   {answer: readyDocument{}},
		"GET /metrics":                  {},
		"GET /api/state":                {answer: stateDocument{}},
		"GET /api/connections":          {query: append(filter, "sort", "limit", "cursor"), answer: list[connectionDocument]{}},
		"DELETE /api/connections":       {query: append(filter, "code", "reason"), answer: closingDocument{}, status: http.StatusAccepted},
		"GET /api/connections/{id}":     {answer: connectionDocument{}},
		"DELETE /api/connections/{id}":  {query: []string{"code", "reason"}, answer: closingDocument{}, status: http.StatusAccepted},
		"GET /api/connections/{id}/tap": {answer: tapDocument{}, status: http.StatusSwitchingProtocols},
		"GET /api/routes":               {answer: list[Route]{}},
		"GET /api/egress":               {answer: list[egressDocument]{}},
		"GET /api/upstreams":            {answer: list[upstreamDocument]{}},
		"GET /api/events":               {query: []string{"limit"}, answer: list[eventDocument]{}},
		"GET /api/stream":               {answer: eventDocument{}, status: http.StatusSwitchingProtocols},
		"GET /api/log-level":            {answer: LogLevels{}},
		"PUT /api/log-level":            {body: LogLevels{}, answer: LogLevels{}},
		"POST /api/reload":              {body: struct{}{}, answer: reloadDocument{}},
		"POST /api/drain":               {body: Drain{}, answer: drainDocument{}, status: http.StatusAccepted},
		"GET /api/openapi.json":         {answer: map[string]any{}},
		"GET /debug/pprof/":             {},
	}
}

type object = map[string]any

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) { writeJSON(w, openAPI()) }

// openAPI is the document of an API with everything that there may be.
func openAPI() object {
	s := &Server{Control: noControl{}}
	paths := object{}
	for _, p := range append(s.pages(), s.changes()...) {
		method, path, found := strings.Cut(p.path, " ")
		if !found {
			method, path = http.MethodGet, p.path
		}
		at, _ := paths[path].(object)
		if at == nil {
			at = object{}
			paths[path] = at
		}
		at[strings.ToLower(method)] = describeOperation(path, p.about, operations()[method+" "+path])
	}
	return object{
		"openapi": "3.1.0",
		"info":    object{"title": "wsproxy admin API", "version": "1"},
		"paths":   paths,
		"components": object{"securitySchemes": object{
			"token":       object{"type": "http", "scheme": "bearer", "description": "admin.token, where there is one"},
			"certificate": object{"type": "mutualTLS", "description": "one of admin.tls.client_ca, where there is one"},
		}},
		"security": []any{object{}, object{"token": []any{}}, object{"certificate": []any{}}, object{"token": []any{}, "certificate": []any{}}},
	}
}

func describeOperation(path, about string, o operation) object {
	success := object{"description": "done"}
	if o.answer != nil {
		success["content"] = object{"application/json": object{"schema": schemaOf(reflect.TypeOf(o.answer))}}
	}
	status := map[int]string{0: "200", http.StatusAccepted: "202", http.StatusSwitchingProtocols: "101"}[o.status]
	d := object{
		"summary": about,
		"responses": object{
			status:    success,
			"default": object{"description": "why not", "content": object{"application/problem+json": object{"schema": schemaOf(reflect.TypeFor[problem]())}}},
		},
	}
	var parameters []any
	if strings.Contains(path, "{id}") {
		parameters = append(parameters, object{"name": "id", "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, name := range o.query {
		parameters = append(parameters, object{"name": name, "in": "query", "schema": object{"type": "string"}})
	}
	if parameters != nil {
		d["parameters"] = parameters
	}
	if o.body != nil {
		d["requestBody"] = object{"content": object{"application/json": object{"schema": optional(schemaOf(reflect.TypeOf(o.body)))}}}
	}
	return d
}

// optional is a schema of what is read: no key has to be there.
func optional(schema object) object {
	delete(schema, "required")
	return schema
}

// schemaOf is the JSON schema of what encoding/json makes of a type of ours.
func schemaOf(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[timestamp]():
		return object{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Pointer:
		schema := schemaOf(t.Elem())
		schema["type"] = []any{schema["type"], "null"}
		return schema
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface {
			return object{"type": "object"}
		}
		return object{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Struct:
		return schemaOfStruct(t)
	}
	return object{"type": "integer"}
}

func schemaOfStruct(t reflect.Type) object {
	properties, required := object{}, []string{}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		properties[name] = schemaOf(f.Type)
		if options != "omitempty" {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	return object{"type": "object", "properties": properties, "required": required}
}

// noControl stands for a Control in the document.
type noControl struct{ Control }
