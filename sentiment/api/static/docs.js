// Swagger UI over this server's own document; relative, so that a path prefix works.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  tryItOutEnabled: true,
  validatorUrl: null, // the online validator is somebody else's server
});
