// A Vendure shop for tests, with a plugin that posts order transitions and stock
// movements to HOOK_URL, signed by Standard Webhooks' headers under HOOK_SECRET.
require('reflect-metadata');
const crypto = require('node:crypto');
const path = require('node:path');
const core = require('@vendure/core');

class Hooks {
  constructor(bus) { this.bus = bus; this.last = Promise.resolve(); }

  onApplicationBootstrap() {
    this.bus.ofType(core.OrderStateTransitionEvent).subscribe((e) => this.post({ type: 'order.transition', code: e.order.code, from: e.fromState, to: e.toState }));
    this.bus.ofType(core.FulfillmentStateTransitionEvent).subscribe((e) => this.orders(e.fulfillment));
    this.bus.ofType(core.StockMovementEvent).subscribe((e) => {
      const orders = e.stockMovements.map((m) => m.orderLine && m.orderLine.order && m.orderLine.order.code).filter(Boolean);
      this.post({ type: 'stock.movement', kind: e.type, code: orders[0], movements: e.stockMovements.map((m) => ({ type: m.type })) });
    });
  }

  orders(f) { for (const o of f.orders || []) this.post({ type: 'order.transition', code: o.code }); }

  post(body) {
    const text = JSON.stringify(body), id = 'vendure-' + crypto.randomUUID(), at = Math.floor(Date.now() / 1000);
    const mac = crypto.createHmac('sha256', Buffer.from(process.env.HOOK_SECRET.replace(/^whsec_/, ''), 'base64')).update(`${id}.${at}.${text}`).digest('base64');
    const headers = { 'content-type': 'application/json', 'webhook-id': id, 'webhook-timestamp': String(at), 'webhook-signature': 'v1,' + mac };
    this.last = this.last.then(() => fetch(process.env.HOOK_URL, { method: 'POST', headers, body: text })).catch(() => {});
  }
}
Reflect.defineMetadata('design:paramtypes', [core.EventBus], Hooks);
core.VendurePlugin({ imports: [core.PluginCommonModule] })(Hooks);

core.bootstrap({
  apiOptions: { hostname: '127.0.0.1', port: Number(process.env.PORT), adminApiPath: 'admin-api', shopApiPath: 'shop-api' },
  authOptions: { tokenMethod: ['bearer', 'cookie'], superadminCredentials: { identifier: 'superadmin', password: 'superadmin' }, cookieOptions: { secret: 'test' } },
  dbConnectionOptions: { type: 'better-sqlite3', database: path.join(process.env.DATA_DIR, 'vendure.sqlite'), synchronize: true, logging: false },
  paymentOptions: { paymentMethodHandlers: [core.dummyPaymentHandler] },
  plugins: [Hooks, core.DefaultJobQueuePlugin.init({})],
  logger: new core.DefaultLogger({ level: core.LogLevel.Warn }),
}).then((app) => app.get(core.JobQueueService).start()).catch((err) => { console.error(err); process.exit(1); });
