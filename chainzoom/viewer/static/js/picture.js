// The zoomable picture: OpenSeadragon over two layers, the synthesised one above plain bicubic enlargement.

import { Loader } from "./loader.js";

const OSD = window.OpenSeadragon;
const quiet = OSD.console.error.bind(OSD.console);
OSD.console.error = (...told) => told.some((part) => String(part).includes("dropped")) || quiet(...told);

export class Picture extends EventTarget {
  constructor(element) {
    super();
    this.viewer = OSD({
      element,
      drawer: "canvas",
      showNavigationControl: false,
      imageLoaderLimit: 0,
      maxTilesPerFrame: 8,
      minPixelRatio: 0.8, // a level is fetched when the screen wants nearly all of it: deeper ones cost sixteen times as much
      maxZoomPixelRatio: 1.5,
      minZoomImageRatio: 0.8,
      visibilityRatio: 0.4,
      timeout: 86400000,
      blendTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.3,
      animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0.01 : 0.7,
      maxImageCacheCount: 600,
      tabIndex: -1,
      preserveImageSizeOnResize: true,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsTouch: { pinchRotate: false },
    });
    this.loader = new Loader({
      judge: (tile) => this.judge(tile),
      told: (count) => this.tell("awaited", count),
      failed: (problem) => this.tell("trouble", problem),
    });
    this.mix = 1;
    this.wipe = null;
    this.layers = {};
    this.viewer.addHandler("canvas-key", (event) => { event.preventDefaultAction = true; });
    this.viewer.addHandler("tile-load-failed", ({ tile }) => queueMicrotask(() => { tile.exists = true; }));
    this.viewer.addHandler("update-viewport", () => this.tell("moved"));
    this.viewer.addHandler("animation-finish", () => this.rest());
    this.viewer.addHandler("resize", () => setTimeout(() => this.rest(), 50));
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  rest() {
    this.loader.tidy();
    this.viewer.forceRedraw();
    this.tell("rested");
  }

  // The photo without any view yet: real pixels at once.
  async show(photo) {
    this.photo = photo;
    this.loader.clear();
    this.viewer.world.removeAll();
    this.layers = {};
    await this.layer("made", null);
  }

  // The pixels of a view replace those of the one before.
  async synthesise(view) {
    await this.layer("made", view);
  }

  async layer(name, view) {
    const turn = (this.turns ??= {})[name] = ((this.turns ??= {})[name] ?? 0) + 1;
    const old = this.layers[name];
    const item = await new Promise((done, failed) => this.viewer.addTiledImage({
      tileSource: this.source(name, view), success: (event) => done(event.item), error: failed,
      index: name === "made" ? undefined : 0,
    }));
    if (turn !== this.turns[name]) {
      this.viewer.world.removeItem(item);
      return;
    }
    if (old) {
      for (const entry of this.loader.all()) if (entry.job.source === old.source) this.loader.drop(entry);
      this.viewer.world.removeItem(old);
    }
    this.layers[name] = item;
    this.mixed();
  }

  source(name, view) {
    const { photo, loader } = this;
    const real = (level) => level <= photo.real_level;
    // Without a view there is nothing deeper than the photo's own pixels, but the coordinates are the same.
    const last = name === "made" && !view ? photo.real_level : photo.levels;
    const source = new OSD.TileSource({
      width: photo.width * photo.top, height: photo.height * photo.top, tileSize: photo.tile, tileOverlap: 0, minLevel: 8, maxLevel: photo.levels,
    });
    source.getTileUrl = (level, x, y) => `/api/${name === "made" && !real(level) && view ? `views/${view}` : `photos/${photo.id}`}/tiles/${level}/${x}_${y}.png`;
    source.tileExists = (level, x, y) => level >= 8 && level <= last && x >= 0 && y >= 0 && x < source.getNumTiles(level).x && y < source.getNumTiles(level).y;
    source.hasTransparency = () => name !== "made";
    source.downloadTileStart = (job) => loader.add(job, job.src, name === "made" && !real(job.tile.level) ? "made" : "real");
    source.downloadTileAbort = (job) => loader.remove(job);
    return source;
  }

  // How much of what was made up is shown: 0 only evidence, 1 all.
  setMix(share) {
    this.mix = share;
    this.mixed();
  }

  // A position across the stage (0..1) right of which plain bicubic is shown, or null.
  setWipe(position) {
    this.wipe = position;
    this.mixed();
  }

  mixed() {
    const made = this.layers.made;
    if (!made || !this.photo) return;
    const below = this.mix < 1 || this.wipe !== null;
    if (below && !this.layers.plain && !this.adding) {
      this.adding = true;
      this.layer("plain", null).finally(() => { this.adding = false; this.mixed(); });
    } else if (!below && this.layers.plain && !this.adding) {
      this.viewer.world.removeItem(this.layers.plain);
      delete this.layers.plain;
    }
    made.setOpacity(this.mix);
    if (this.wipe === null) {
      made.setClip(null);
    } else {
      const left = this.viewer.viewport.getBounds(true);
      const cut = made.viewportToImageCoordinates(left.x + left.width * this.wipe, left.y).x;
      made.setClip(new OSD.Rect(0, 0, Math.max(0, Math.min(cut, this.photo.width * this.photo.top)), this.photo.height * this.photo.top));
    }
    this.viewer.forceRedraw();
  }

  judge(tile) {
    const view = this.viewer.viewport.getBounds(false);
    const middle = view.getCenter();
    const at = tile.bounds;
    const slack = 0.02 * view.width;
    const inside = at.x < view.x + view.width + slack && at.x + at.width > view.x - slack && at.y < view.y + view.height + slack && at.y + at.height > view.y - slack;
    const reach = Math.hypot(at.x + at.width / 2 - middle.x, at.y + at.height / 2 - middle.y) / Math.max(view.width, 1e-12);
    const wanted = tile.level <= this.finest();
    return { visible: inside && wanted, distance: Math.min(9.99, reach) };
  }

  // The finest level that the screen wants at the present zoom.
  finest() {
    if (!this.photo) return 0;
    return this.photo.real_level + Math.ceil(Math.log2(Math.max(1e-6, this.place().z)) + Math.log2(1 / 0.8) - 1 + 1e-6);
  }

  // Middle (0..1 of the photo), scale (screen pixels per photo pixel), and what is seen in photo pixels.
  place() {
    const { viewport } = this.viewer;
    const { width, height, top } = this.photo;
    const view = viewport.getBounds(false);
    const per = width; // viewport units: 1 is the photo's width
    const z = (viewport.getContainerSize().x / (view.width * per)) * OSD.pixelDensityRatio;
    return {
      x: (view.x + view.width / 2), y: (view.y + view.height / 2) * width / height, z, top,
      left: view.x * per, upper: view.y * per, wide: view.width * per, high: view.height * per,
    };
  }

  go({ x, y, z }, now = false) {
    const { viewport } = this.viewer;
    if (!z) {
      viewport.goHome(now);
      return;
    }
    const { width, height } = this.photo;
    const wide = (viewport.getContainerSize().x * OSD.pixelDensityRatio) / (z * width);
    const high = wide * viewport.getContainerSize().y / viewport.getContainerSize().x;
    viewport.fitBounds(new OSD.Rect(x - wide / 2, y * height / width - high / 2, wide, high), now);
  }

  zoomBy(factor) {
    this.viewer.viewport.zoomBy(factor).applyConstraints();
  }

  panBy(x, y) {
    const { viewport } = this.viewer;
    const view = viewport.getBounds(false);
    viewport.panBy(new OSD.Point(x * view.width, y * view.height)).applyConstraints();
  }
}
